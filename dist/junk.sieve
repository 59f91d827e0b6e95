# Files mail that Signpost tags into Junk, in front of the user's own script (docs/observe.md, "Quarantined mail").
# Signpost removes this field from inbound mail, so a sender cannot write it. Without :create, a user who has no Junk
# would get the message in the inbox.
require ["fileinto", "mailbox"];
if header :matches "X-Signpost-Disposition" "quarantine;*" {
    fileinto :create "Junk";
    stop;
}
