# Reads values of Authentication-Results on standard input, a JSON array, with python3-authres. python3-authres keeps the backslash of a
# quoted pair (RFC 5322 section 3.2.1), so bare() removes it. Without strict=True, it omits a property that it cannot parse, without an
# error.
import json
import re
import sys

import authres


def bare(s):
    return s and re.sub(r'\\(.)', r'\1', s)


def read(value):
    try:
        header = authres.core.AuthenticationResultsHeader(authres.FeatureContext(), strict=True)
        header._parse_text = re.sub(r'\r?\n(?=[ \t])', '', value)
        header._parse()
    except Exception as e:
        return {'error': '%s: %s' % (type(e).__name__, e)}
    return {'id': header.authserv_id, 'results': [{
        'method': r.method, 'value': r.result, 'reason': bare(r.reason) or '',
        'props': [{'type': p.type, 'name': p.name, 'value': bare(p.value)} for p in r.properties],
    } for r in header.results]}


json.dump([read(v) for v in json.load(sys.stdin)], sys.stdout)
