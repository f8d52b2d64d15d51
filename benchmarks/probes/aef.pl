# Perl's AnyEvent::Fork, the model: perl aef.pl FIGURE [name=value ...]
#
#   new     AnyEvent::Fork->new->eval(...)->run, which forks from its clean template
#   fork    $template->fork->run, of a template that has the function already
#   road    the same as fork, with what `carry` names (see road.py): sent, or held by the template
#
# "Exit seen" is the end of file on the process's socket: AnyEvent::Fork tells its user no more. Its
# arguments are strings, so it is sent the strings that Perl has for the values.

use strict;
use warnings;
use AnyEvent;
use AnyEvent::Fork;
use FindBin qw($Bin);
use IO::Socket::INET;
use lib $Bin;    # AnyEvent::Fork gives it to what it launches: where Small and Other are
use Time::HiRes qw(time sleep);

my ($figure, @words) = @ARGV;
my %wish = (count => 1, gap => 0, megabytes => 0, carry => "nothing", warm => 20);
/^(\w+)=(.*)$/ and $wish{$1} = $2 for @words;

my $ballast = $wish{megabytes} ? "x" x ($wish{megabytes} << 20) : "";
my $code = 'sub nothing { } sub hello { syswrite $_[0], "x" }';
my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1")
    or die "no socket: $!";
my $template;

my %data = (
    buffer  => 'my $size = 1 << 30; our $memory = "x" x $size',
    objects => 'our @rows = map { my $i = $_; +{ id => $i, map { ("key$_" => "$i" x 16) } 1 .. 4 } }'
        . ' 1 .. 400_000',
);
my %send = (
    bytes   => sub { $_[0]->send_arg("y") },
    int     => sub { $_[0]->send_arg("1") },
    mixed   => sub { $_[0]->send_arg("1", '{"a": 1, "b": "x"}', "", "(1, 2)") },
    socket  => sub { $_[0]->send_fh($listener) },
    prefork => sub { $_[0]->send_fh($listener)->send_arg("1") },
);

sub make {
    my ($name) = @_;
    return (AnyEvent::Fork->new->eval($code), $name) if $figure eq "new";
    my $new = AnyEvent::Fork->new;
    if ($figure eq "road") {
        $name = "Small::$name";
        return ($new->require("Small"), $name) if $wish{carry} eq "module";
        return ($new->require("Small", "Other"), $name) if $wish{carry} eq "require";
        $template ||= $new->require("Small")->eval($data{ $wish{carry} } || "");
        my $process = $template->fork;
        my $send = $send{ $wish{carry} };
        return ($send ? $send->($process) : $process, $name);
    }
    $template ||= $new->eval($code);
    return ($template->fork, $name);
}

sub one {
    my ($function) = @_;
    my $done = AE::cv;
    my $start = time;
    my ($first, $watch, $blocked);
    my ($process, $name) = make($function);
    $process->run($name, sub {
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

one("hello") for 1 .. $wish{warm};
my (@blocked, @first);
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
