# Signs or verifies the message on stdin with Mail::DKIM. ARGV[0] is JSON: {"records": {...}} or {"sign": {...}}.
use strict;
use warnings;
use JSON::PP;

my $job = decode_json($ARGV[0]);
binmode STDIN;
binmode STDOUT;
my $message = do { local $/; <STDIN> };

if (my $s = $job->{sign}) {
	require Mail::DKIM::Signer;
	require Mail::DKIM::PrivateKey;
	my $signer = Mail::DKIM::Signer->new(
		Algorithm => $s->{algorithm}, Method => "$s->{header}/$s->{body}", Domain => $s->{domain},
		Selector => $s->{selector}, Key => Mail::DKIM::PrivateKey->load(Data => $s->{key}));
	$signer->PRINT($message);
	$signer->CLOSE;
	(my $line = $signer->signature->as_string) =~ s/\r?\n/\r\n/g;
	print $line, "\r\n", $message;
	exit;
}

require Mail::DKIM::Verifier;
require Mail::DKIM::DNS;
require Net::DNS;
{
	no warnings qw(redefine once);
	*Mail::DKIM::DNS::query = sub {
		my ($name, $type) = @_;
		my $txt = $job->{records}{$name};
		return unless defined $txt;
		return Net::DNS::RR->new(name => $name, type => 'TXT', txtdata => [$txt =~ /(.{1,250})/gs]);
	};
}
my $verifier = Mail::DKIM::Verifier->new;
$verifier->PRINT($message);
$verifier->CLOSE;
print encode_json([map {
	{ Domain => $_->domain, Selector => $_->selector, OK => $_->result eq 'pass' ? JSON::PP::true : JSON::PP::false, Detail => $_->result_detail }
} $verifier->signatures]);
