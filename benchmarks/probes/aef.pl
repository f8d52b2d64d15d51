# Perl's AnyEvent::Fork, the model: perl aef.pl FIGURE [name=value ...]
#
#   new     AnyEvent::Fork->new->eval(...)->run, which forks from its clean template
#   fork    $template->fork->run, of a template that has the function already
#
# "Exit seen" is the end of file on the process's socket: AnyEvent::Fork tells its user no more.

use strict;
use warnings;
use AnyEvent;
use AnyEvent::Fork;
use Time::HiRes qw(time sleep);

my ($figure, @words) = @ARGV;
my %wish = (count => 1, gap => 0, megabytes => 0);
/^(\w+)=(.*)$/ and $wish{$1} = $2 for @words;

my $ballast = $wish{megabytes} ? "x" x ($wish{megabytes} << 20) : "";
my $code = 'sub nothing { } sub hello { syswrite $_[0], "x" }';
my $template;

sub make {
    return AnyEvent::Fork->new->eval($code) if $figure eq "new";
    $template ||= AnyEvent::Fork->new->eval($code);
    return $template->fork;
}

sub one {
    my ($function) = @_;
    my $done = AE::cv;
    my $start = time;
    my ($first, $watch, $blocked);
    make()->run($function, sub {
        my ($fh) = @_;
        $watch = AE::io $fh, 0, sub {
            my $got = sysread $fh, my $buffer, 100;
            $first ||= time - $start;
            return if $got;
            undef $watch;
            $done->send;
        };
    });
    $blocked = time - $start;
    $done->recv;
    return ($blocked, $first, time - $start);
}

one("hello") for 1 .. 20;
my (@blocked, @first, @whole);
for (1 .. $wish{count}) {
    my ($b, $f) = one("hello");
    push @blocked, $b;
    push @first, $f;
    sleep $wish{gap} if $wish{gap};
}
my $start = time;
one("nothing") for 1 .. $wish{count};
my $each = (time - $start) / $wish{count};

sub row { return "[" . join(",", map { sprintf "%.7f", $_ } @_) . "]" }
printf qq({"blocked": %s, "first": %s, "rate": [%.7f], "version": "%s"}\n),
    row(@blocked), row(@first), $each, $AnyEvent::Fork::VERSION;
