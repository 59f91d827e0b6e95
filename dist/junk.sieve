# Signpost lets mail that a domain asked to quarantine through, and says so in a field that no stranger can write.
require ["fileinto"];
if header :matches "X-Signpost-Disposition" "quarantine;*" {
    fileinto "Junk";
    stop;
}
