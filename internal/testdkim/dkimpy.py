# Verifies or signs the message on stdin with dkimpy. argv[1] is JSON: {"records": {...}} or {"sign": {...}};
# for ARC {"arc_records": {...}} or {"seal": {...}}. {"records": {...}, "sizes": [...]} verifies several messages, which follow each other.
import json
import sys

import dkim

job = json.loads(sys.argv[1])
message = sys.stdin.buffer.read()

if "sign" in job:
    s = job["sign"]
    key = s["key"].encode()
    line = dkim.sign(
        message, s["selector"].encode(), s["domain"].encode(), key,
        canonicalize=(s["header"].encode(), s["body"].encode()),
        signature_algorithm=s["algorithm"].encode(), length=s["length"])
    sys.stdout.buffer.write(line + message)
    sys.exit(0)

if "seal" in job:
    s = job["seal"]
    lines = dkim.arc_sign(message, s["selector"].encode(), s["domain"].encode(), s["key"].encode(), s["authserv_id"].encode())
    sys.stdout.buffer.write(b"".join(line.rstrip(b"\r\n") + b"\r\n" for line in lines) + message)
    sys.exit(0)

def txt(name, timeout=5):
    if isinstance(name, bytes):
        name = name.decode()
    record = (job.get("records") or job["arc_records"]).get(name.rstrip("."))
    return record.encode() if record is not None else None

if "arc_records" in job:
    cv, _, detail = dkim.arc_verify(message, dnsfunc=txt)
    json.dump({"Status": (cv or b"fail").decode(), "Detail": detail}, sys.stdout)
    sys.exit(0)

def verify(message):
    verifier = dkim.DKIM(message, timeout=5)
    count = sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")
    opinions = []
    for i in range(count):
        verifier = dkim.DKIM(message, timeout=5)
        detail = ""
        try:
            ok = bool(verifier.verify(idx=i, dnsfunc=txt))
        except dkim.DKIMException as e:
            ok, detail = False, str(e)
        domain = verifier.domain or b""
        selector = verifier.selector or b""
        opinions.append({"Domain": domain.decode(), "Selector": selector.decode(), "OK": ok, "Detail": detail})
    return opinions

if "sizes" in job:
    found, begin = [], 0
    for size in job["sizes"]:
        found.append(verify(message[begin:begin + size]))
        begin += size
    json.dump(found, sys.stdout)
else:
    json.dump(verify(message), sys.stdout)
