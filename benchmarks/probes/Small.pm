# What small.py is, for AnyEvent::Fork.

package Small;

use strict;
use warnings;

our %LIMITS = (low => 1, high => 10);

sub new {
    my ($class, $start) = @_;
    return bless { value => $start || 0 }, $class;
}

sub up {
    my ($self, $by) = @_;
    $self->{value} += $by || 1;
    $self->{value} = $LIMITS{high} if $self->{value} > $LIMITS{high};
    return $self->{value};
}

sub nothing { }

sub hello { syswrite $_[0], "x" }

1
