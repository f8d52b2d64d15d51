# What other.py is, for AnyEvent::Fork.

package Other;

use strict;
use warnings;

our @NAMES = qw(red green blue);

sub place {
    my ($name) = @_;
    my ($found) = grep { $NAMES[$_] eq $name } 0 .. $#NAMES;
    return $found;
}

sub new {
    my ($class, @values) = @_;
    return bless { values => \@values }, $class;
}

sub first { return $_[0]{values}[0] }

1
