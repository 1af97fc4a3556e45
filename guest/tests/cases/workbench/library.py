"""What Python's standard library says of fixed questions."""
import array, base64, bz2, collections, datetime, decimal, fractions, hashlib, hmac, itertools, json, lzma, math, multiprocessing, os, pickle
import random, re, sqlite3, statistics, string, struct, subprocess, sys, threading, unicodedata, zlib


def digest(data):
    return hashlib.sha256(data if isinstance(data, bytes) else repr(data).encode()).hexdigest()[:16]


def noise(length, seed=1):
    return random.Random(seed).randbytes(length)


def hashes():
    for name in sorted(hashlib.algorithms_guaranteed):
        hash = hashlib.new(name)
        for piece in range(0, 200000, 9973):
            hash.update(noise(piece % 4096, piece))
        yield name, hash.hexdigest(*([32] if name.startswith("shake") else []))
    yield "hmac", hmac.new(b"key", noise(100000), "sha512").hexdigest()
    yield "pbkdf2", hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 3000).hex()
    yield "scrypt", hashlib.scrypt(b"password", salt=b"salt", n=256, r=8, p=1).hex()


def numbers():
    rng = random.Random(42)
    values = [rng.uniform(-50, 50) for _ in range(2000)] + [10.0 ** e for e in range(-320, 309, 7)] + [math.inf, -0.0, 5e-324]
    names = "acos acosh asin asinh atan atanh cbrt ceil cos cosh degrees erf erfc exp exp2 expm1 fabs floor frexp gamma lgamma log log10 log1p log2 modf sin sinh sqrt tan tanh trunc ulp"
    for name in names.split():
        def call(value):
            try:
                return getattr(math, name)(value)
            except (ValueError, OverflowError) as error:
                return str(error)
        yield name, digest([result.hex() if isinstance(result, float) else result for result in map(call, values)])
    yield "repr", digest([repr(value) for value in values]), digest([f"{value:.3e} {value:.17g} {value!s}" for value in values])
    yield "pow", digest([math.pow(abs(a), b % 5).hex() for a, b in itertools.pairwise(values[:2000])])
    yield "fsum", math.fsum(values[:2000]).hex(), statistics.stdev(values[:2000]).hex(), math.prod(values[:100]).hex()
    yield "integers", digest(hex(3 ** 20000)), math.factorial(300) % (10 ** 20 + 39), math.isqrt(7 ** 501), math.comb(500, 250) % 10 ** 18
    decimal.getcontext().prec = 60
    number = decimal.Decimal
    yield "decimal", number(2).sqrt(), number(10).ln(), number("0.1").exp(), number(7) / 3, number(3) ** number("2.5")
    decimal.getcontext().prec = 3000
    yield "long decimal", digest(str(number(2).sqrt() * number(3).sqrt() / number(7).ln()))
    yield "fractions", sum(fractions.Fraction(1, n) for n in range(1, 200)), fractions.Fraction(math.pi).limit_denominator(10 ** 6)
    yield "random", random.Random("seed").gauss(0, 1).hex(), digest([rng.expovariate(3) for _ in range(1000)])


def formats():
    document = {"text": "Grüße \u2028 \U0001f600", "numbers": [1.5, -0.0, 1e308, 123456789012345678901234567890], "nested": [{str(i): [i] * i for i in range(50)}], "none": None}
    text = json.dumps(document, sort_keys=True, indent=1)
    yield "json", digest(text), json.loads(text) == document, json.dumps(0.1 + 0.2), json.loads("[1e400, -1E-7]")
    yield "struct", struct.pack("<bHiQefd10p?", -1, 65535, -5, 2 ** 64 - 1, 1.5, 0.1, 0.1, b"pascal", True).hex(), struct.unpack(">d", bytes.fromhex("400921fb54442d18"))
    data = noise(100000) + b"abc" * 50000 + text.encode() * 20
    for name, pack, unpack in [("zlib", lambda d: zlib.compress(d, 9), zlib.decompress), ("bz2", bz2.compress, bz2.decompress), ("lzma", lambda d: lzma.compress(d, preset=2), lzma.decompress)]:
        packed = pack(data)
        yield name, len(packed), digest(packed), unpack(packed) == data
    yield "checksums", zlib.crc32(data), zlib.adler32(data)
    yield "base64", digest(base64.b85encode(data[:5000])), digest(base64.b64encode(data))
    yield "pickle", digest(pickle.dumps([document, (1, 2), {3}, b"4", 5.5], 5))
    yield "array", digest(array.array("d", map(float, range(1000))).tobytes()), array.array("f", [0.1, 1e38])
    yield "unicode", digest([unicodedata.normalize("NFKD", chr(c)) for c in range(0xa0, 0x3000)]), "straße".casefold(), unicodedata.unidata_version


def texts():
    text = " ".join("".join(random.Random(i).choices(string.ascii_letters + string.digits + "_-.@", k=i % 23 + 1)) for i in range(5000))
    yield "re", len(re.findall(r"\b\w+@\w+\.\w+\b", text)), digest(re.sub(r"(?i)([aeiou])(\d)", r"\2\1", text)), digest(re.split(r"[-_.]+", text))
    yield "counter", collections.Counter(text).most_common(5)
    yield "sorted", digest(sorted(text.split(), key=lambda word: (len(word), word[::-1])))
    yield "dates", datetime.datetime(2024, 2, 29, 12, 34, 56, 789, datetime.timezone.utc).isoformat(), datetime.date(1, 1, 1) + datetime.timedelta(days=738000)


def databases():
    database = sqlite3.connect("library.db")
    database.execute("create table t (id integer primary key, name text, value real)")
    rng = random.Random(3)
    database.executemany("insert into t (name, value) values (?, ?)", [(f"name{rng.randrange(500)}", rng.random()) for _ in range(20000)])
    database.execute("create index i on t (name, value)")
    database.commit()
    yield "sqlite", database.execute("select count(distinct name), sum(value), max(name) from t").fetchone()
    yield "window", digest(database.execute("select name, avg(value), sum(count(*)) over (order by name) from t group by name order by name").fetchall())
    yield "check", database.execute("pragma integrity_check").fetchone(), os.path.getsize("library.db")
    database.close()
    yield "file", digest(open("library.db", "rb").read()[100:])


def square(number):
    return number * number, math.sin(number).hex()


def parallel():
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            yield method, digest(pool.map(square, range(500), chunksize=7)), sum(value for value, _ in pool.imap_unordered(square, range(100)))
    queue, result = multiprocessing.Queue(), multiprocessing.Value("d", 0.0)
    workers = [multiprocessing.Process(target=consume, args=(queue, result)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for number in range(1000):
        queue.put(number)
    for worker in workers:
        queue.put(None)
    for worker in workers:
        worker.join()
    yield "queue", result.value, [worker.exitcode for worker in workers]
    totals = collections.Counter()
    lock = threading.Lock()
    def add(number):
        for turn in range(2000):
            with lock:
                totals[number % 3] += turn
    threads = [threading.Thread(target=add, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield "threads", sorted(totals.items())
    yield "subprocess", subprocess.run(["sh", "-c", "cat; echo to-err >&2; exit 3"], input=noise(300000), capture_output=True).stdout == noise(300000)


def consume(queue, result):
    while (number := queue.get()) is not None:
        with result.get_lock():
            result.value += number * 0.5


if __name__ == "__main__":
    print(sys.version.split()[0], sys.float_info.max.hex(), sys.hash_info.algorithm)
    for part in (hashes, numbers, formats, texts, databases, parallel):
        for name, *values in part():
            print(f"{part.__name__}: {name}:", *values, flush=True)
