# What perl says of fixed questions.
use strict;
use warnings;
use bigint ();
use Digest::SHA qw(sha256_hex);
use Encode;
use List::Util qw(sum reduce shuffle);
use Math::BigFloat;
use Math::BigInt;
use POSIX qw(floor fmod strftime);
use Storable qw(dclone freeze thaw);

$| = 1;
my $seed = 1;
sub draw { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed / 2147483648 }
my @words = map { join '', map { chr(97 + int(26 * draw())) } 1 .. 1 + int(12 * draw()) } 1 .. 20000;
my $text = join ' ', @words;

my %count;
$count{substr $_, 0, 2}++ for @words;
print "counted: ", join(' ', map { "$_=$count{$_}" } (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 9]), "\n";
my $pairs = () = $text =~ /\b(\w)\w*\1\b/g;
(my $changed = $text) =~ s/([aeiou])([^aeiou ])(?=\w)/\u$2$1/g;
print "matched: $pairs ", sha256_hex($changed), "\n";
$text =~ tr/a-y/b-z/;
print "sorted: ", sha256_hex(join ',', sort { length $a <=> length $b || $b cmp $a } @words), ' ', sha256_hex($text), "\n";
printf "floats: %.17g %a %s %s %s\n", 0.1 + 0.2, exp(1), 1e23, 9**9**9, -sin(9**9**9);
printf "numbers: %s %s %d %o %x %b %e\n", 2**53 + 1, 18446744073709551615, -7 / 2, 511, 48879, 10, fmod(1e10, 7.7);
print 'functions: ', sha256_hex(join ',', map { sprintf '%.17g', sin($_) * cos($_ / 3) + atan2($_, 7) + log($_ + 1) + sqrt($_) } 1 .. 5000), "\n";
print 'big: ', Math::BigInt->new(3)->bpow(500)->bmod('1000000000000000000000007'), ' ', Math::BigFloat->bpi(80), ' ', Math::BigFloat->new(2)->bsqrt(60), "\n";
print 'packed: ', unpack('H*', pack('w/a n N v V q> d< f A5 Z4 b8', 'abc', 1, 2, 3, 4, -5, 1.5, 0.1, 'x', 'yz', '10110')), ' ', unpack('%32C*', $text), "\n";
print 'encoded: ', unpack('H*', encode('UTF-16BE', "Gr\x{fc}\x{df}e \x{1f600}")), ' ', length(decode('UTF-8', "Gr\xc3\xbc\xc3\x9fe")), "\n";
print 'stored: ', join(',', map { "@$_" } @{thaw(freeze([[1, 2], ['a', 'b'], [undef // 'u', 3.5]]))}), "\n";
print 'time: ', strftime('%Y-%m-%d %H:%M:%S %j %a', gmtime(1709210096)), "\n";

my @results;
for my $number (1 .. 30) {
    my $pid = open(my $from, '-|') // die;
    if (!$pid) { print sum(map { $_ * $number } 1 .. 100), ' '; exit $number }
    push @results, <$from> . do { close $from; $? >> 8 };
}
print "children: @results\n";
my $caught = '';
local $SIG{USR1} = sub { $caught .= 'u' };
local $SIG{ALRM} = sub { $caught .= 'a'; die "alarm\n" };
kill USR1 => $$ for 1 .. 3;
eval { alarm 1; 1 while 1 };
print "signals: $caught $@";
open(my $file, '+>', 'perl.data') or die;
binmode $file;
print $file map { pack 'NA12', $_, "record $_" } 0 .. 9999;
seek $file, 16 * 7777, 0;
read $file, my $record, 16;
print 'file: ', join(' ', unpack 'NA12', $record), ' ', -s 'perl.data', "\n";
my $formatted = '';
our ($name, $value);
format STDOUT =
@<<<<<<<<< @>>>>>>> @##.##
$name,     $value,  $value
.
($name, $value) = @$_, write for ['first', 3.14159], ['second', 2.71828];
