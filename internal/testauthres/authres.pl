# Reads values of Authentication-Results on standard input, a JSON array, with Mail::AuthenticationResults.
use strict;
use warnings;
use JSON::PP;
use Mail::AuthenticationResults::Parser;

sub props {
    my ($type) = @_;
    return grep { ref =~ /::$type$/ } @{ $_[1]->children };
}

sub read_value {
    my ($value) = @_;
    my $header = eval { Mail::AuthenticationResults::Parser->new($value)->parsed } or return { error => "$@" };
    my @results;
    for my $entry (props('Entry', $header)) {
        my ($reason, @props) = ('');
        for my $p (props('SubEntry', $entry)) {
            if ($p->key eq 'reason') { $reason = $p->value; next }
            my ($type, $name) = split /\./, $p->key, 2;
            push @props, { type => $type, name => $name, value => $p->value };
        }
        push @results, { method => $entry->key, value => $entry->value, reason => $reason, props => \@props };
    }
    return { id => lc $header->value->value, results => \@results };
}

local $/;
print encode_json([ map { read_value($_) } @{ decode_json(<STDIN>) } ]);
