# Signpost tags quarantined mail with a header field. This script files tagged mail into the Junk mailbox. It runs before the
# user's own script (docs/observe.md, "Quarantined mail"). Signpost removes this field from inbound mail, so a sender cannot add
# it. Without :create, the message would be delivered to the inbox if the user has no Junk mailbox.
require ["fileinto", "mailbox"];
if header :matches "X-Signpost-Disposition" "quarantine;*" {
    fileinto :create "Junk";
    stop;
}
