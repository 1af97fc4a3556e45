"""A repository for Alpine's package manager, with packages that are in no other: `words`, and `greeting`, which needs it.

  apk.py FOLDER       makes FOLDER/x86_64 and the key FOLDER/tests.rsa.pub, with openssl
"""

import base64
import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

KEY = "tests.rsa"


def archive(files, ends):
    """A compressed archive. The parts of a package but the last lack an archive's end, for together they are one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        folders = {str(folder) for name in files for folder in Path(name).parents if str(folder) != "."}
        for folder in sorted(folders):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for name, (content, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            if not name.startswith("."):
                info.pax_headers = {"APK-TOOLS.checksum.SHA1": hashlib.sha1(content).hexdigest()}
            tar.addfile(info, io.BytesIO(content))
        length = tar.offset
    return gzip.compress(buffer.getvalue() if ends else buffer.getvalue()[:length], mtime=0)


def signed(folder, data):
    sign = ["openssl", "dgst", "-sha1", "-sign", folder / KEY]
    signature = subprocess.run(sign, input=data, stdout=subprocess.PIPE, check=True).stdout
    return archive({f".SIGN.RSA.{KEY}.pub": (signature, 0o644)}, False) + data


def package(folder, name, needs, files):
    """Writes a package. Returns what the index says of it."""
    data = archive(files, True)
    size = sum(len(content) for content, _ in files.values())
    fields = [f"pkgname = {name}", "pkgver = 1.0-r0", "pkgdesc = for a test", "arch = x86_64", "license = MIT", f"size = {size}"]
    fields += [f"depend = {other}" for other in needs] + [f"datahash = {hashlib.sha256(data).hexdigest()}"]
    control = archive({".PKGINFO": ("".join(f"{field}\n" for field in fields).encode(), 0o644)}, False)
    content = signed(folder, control) + data
    (folder / "x86_64" / f"{name}-1.0-r0.apk").write_bytes(content)
    checksum = base64.b64encode(hashlib.sha1(control).digest()).decode()
    entry = f"C:Q1{checksum}\nP:{name}\nV:1.0-r0\nA:x86_64\nS:{len(content)}\nI:{size}\nT:for a test\nU:\nL:MIT\n"
    return entry + (f"D:{' '.join(needs)}\n" if needs else "") + "\n"


def main(folder):
    folder = Path(folder)
    (folder / "x86_64").mkdir(parents=True)
    subprocess.run(["openssl", "genrsa", "-out", folder / KEY, "2048"], stderr=subprocess.DEVNULL, check=True)
    subprocess.run(["openssl", "rsa", "-in", folder / KEY, "-pubout", "-out", folder / f"{KEY}.pub"], stderr=subprocess.DEVNULL, check=True)
    index = package(folder, "words", [], {"usr/share/words": (b"good morning\n", 0o644)})
    index += package(folder, "greeting", ["words"], {"usr/bin/greeting": (b"#!/bin/sh\ncat /usr/share/words\n", 0o755)})
    described = archive({"DESCRIPTION": (b"tests", 0o644), "APKINDEX": (index.encode(), 0o644)}, True)
    (folder / "x86_64" / "APKINDEX.tar.gz").write_bytes(signed(folder, described))


main(sys.argv[1])
