#!/usr/bin/env python3
"""Makes the files of the default guest: Debian's kernel with a busybox initramfs and a disk.

    guest_files.py fetch --package linux-image-cloud-amd64 --out DIR
    guest_files.py file --package memtest86+ --path boot/memtest86+x64.bin --out FILE
    guest_files.py vmlinux --kernel vmlinuz --out vmlinux
    guest_files.py initramfs --modules DIR/lib/modules/VERSION --out initramfs.cpio [--add PATH=FILE]
    guest_files.py disk --out root.ext4 [--size MIB]

fetch unpacks the package that the given one depends on, without installing it, and links
DIR/vmlinuz and DIR/modules to what matters in it. The rest makes the same bytes of the same input.
Needs apt, dpkg, lz4, busybox-static, e2fsprogs; no privileges.
"""

import argparse
import contextlib
import glob
import gzip
import lzma
import os
import re
import stat
import struct
import subprocess
import sys
import tempfile

FILE_TIME = 1672531200  # of every file made here: 2023-01-01
BUSYBOX = "/bin/busybox"
# What the guest needs beyond what the kernel has built in; dependencies are added.
MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "virtio_rng"]
DISK_UUID = "54524150-524f-434b-a000-000000000003"

# /init: mounts, modules, then /test.sh if there is one, else a shell with job control. Either way
# the machine is powered off afterwards.
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mkdir -p /dev/pts
/bin/busybox mount -t devpts devpts /dev/pts
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=${TERM:-vt100}
while read -r module; do
    insmod "/lib/modules/$module"
done < /lib/modules/order
if [ -e /test.sh ]; then
    sh /test.sh
    echo "test.sh: exit $?"
else
    setsid cttyhack sh
fi
sync
poweroff -f
"""


class GuestError(Exception):
    """What is wrong, and what to do; for the user."""


def run(command, **options):
    try:
        return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, **options).stdout
    except FileNotFoundError as error:
        raise GuestError(f"{command[0]} is missing; install its package") from error
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip()
        raise GuestError(f"{' '.join(command)} failed: {message}") from error


def write_file(path, data):
    """Replaces the file at once, so that no half of one is ever taken for a whole."""
    part = path + ".part"
    with open(part, "wb") as file:
        file.write(data)
    os.replace(part, path)


# ---- The kernel's package ------------------------------------------------------------------------


def dependency(package):
    """The versioned kernel package that a meta package stands for; a package that is none itself
    stays."""
    shown = run(["apt-cache", "show", "--no-all-versions", package]).decode()
    match = re.search(r"^Depends:.*?\b(linux-image-\d[^\s,(]*)", shown, re.MULTILINE)
    return match.group(1) if match else package


def link(target, name):
    with tempfile.TemporaryDirectory(dir=os.path.dirname(name)) as directory:
        os.symlink(os.path.relpath(target, os.path.dirname(name)), os.path.join(directory, "link"))
        os.replace(os.path.join(directory, "link"), name)


def download(out, name):
    """The folder of the package, unpacked; fetched only where it is not there yet."""
    package = dependency(name)
    root = os.path.join(out, package)
    if not os.path.isdir(root):
        with tempfile.TemporaryDirectory(dir=out) as directory:
            run(["apt-get", "download", package], cwd=directory)
            run(["dpkg-deb", "-x", glob.glob(directory + "/*.deb")[0], directory + "/root"])
            os.rename(directory + "/root", root)
    return package, root


def obtain(out, name):
    """As download, after a look for newer lists where that fails."""
    os.makedirs(out, exist_ok=True)
    try:
        return download(out, name)
    except GuestError:
        # apt's lists may be absent, or older than what the mirror has.
        if os.geteuid() != 0 or os.environ.get("NO_INSTALL") == "1":
            raise
        run(["apt-get", "update"])
        return download(out, name)


def package_file(arguments):
    """One file of a package; what is compressed by gzip is unpacked."""
    folder = os.path.dirname(os.path.abspath(arguments.out))
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        package, root = obtain(directory, arguments.package)
        found = glob.glob(os.path.join(root, arguments.path))
        if len(found) != 1:
            raise GuestError(f"{package} has no {arguments.path}, or several: {found}")
        with open(found[0], "rb") as file:
            data = file.read()
    write_file(arguments.out, gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)


def fetch(arguments):
    out = os.path.abspath(arguments.out)
    package, root = obtain(out, arguments.package)
    kernels = glob.glob(root + "/boot/vmlinuz-*")
    modules = glob.glob(root + "/lib/modules/*") or glob.glob(root + "/usr/lib/modules/*")
    if len(kernels) != 1 or len(modules) != 1:
        raise GuestError(f"{package} has no kernel, or several: {kernels}, {modules}")
    link(kernels[0], os.path.join(out, "vmlinuz"))
    link(modules[0], os.path.join(out, "modules"))
    print(package)


# ---- The kernel inside a bzImage -----------------------------------------------------------------


def lz4_unpack(data):
    return subprocess.run(["lz4", "-dc"], input=data, check=True, stdout=subprocess.PIPE).stdout


def zstd_unpack(data):
    return subprocess.run(["zstd", "-dc"], input=data, check=True, stdout=subprocess.PIPE).stdout


UNPACKERS = [
    (b"\x02\x21\x4c\x18", lz4_unpack),
    (b"\xfd7zXZ", lambda data: lzma.LZMADecompressor().decompress(data)),
    (b"\x1f\x8b", lambda data: gzip.decompress(data)),
    (b"\x28\xb5\x2f\xfd", zstd_unpack),
]


def vmlinux(arguments):
    """Documentation/x86/boot: The Real-Mode Kernel Header, payload_offset and payload_length. The
    payload ends in its unpacked length, 4 bytes that the kernel's build appends."""
    with open(arguments.kernel, "rb") as file:
        image = file.read()
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise GuestError(f"{arguments.kernel} is no bzImage")
    (version,) = struct.unpack_from("<H", image, 0x206)
    if version < 0x208:
        raise GuestError(f"{arguments.kernel} has boot protocol {version:#x}, too old for a payload")
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = ((image[0x1F1] or 4) + 1) * 512 + offset
    payload = image[start:start + length]
    if length < 4 or len(payload) != length:
        raise GuestError(f"{arguments.kernel} is truncated")
    (size,) = struct.unpack("<I", payload[-4:])
    for magic, unpack in UNPACKERS:
        if payload.startswith(magic):
            try:
                kernel = unpack(payload[:-4] if magic != b"\x1f\x8b" else payload)
            except (OSError, EOFError, lzma.LZMAError, subprocess.CalledProcessError) as error:
                raise GuestError(f"{arguments.kernel}: the payload is damaged: {error}") from error
            break
    else:
        raise GuestError(f"{arguments.kernel}: unknown compression {payload[:4].hex()}")
    if len(kernel) != size or not kernel.startswith(b"\x7fELF"):
        raise GuestError(f"{arguments.kernel}: the payload is no ELF of {size} bytes")
    write_file(arguments.out, kernel)


# ---- The initramfs -------------------------------------------------------------------------------


def module_read(path):
    with open(path, "rb") as file:
        data = file.read()
    return lzma.decompress(data) if path.endswith(".xz") else data


def module_dependencies(data):
    """The names in a module's .modinfo: strings `key=value`, NUL-terminated."""
    match = re.search(rb"(?:^|\0)depends=([^\0]*)\0", data)
    names = match.group(1).decode() if match else ""
    return [name for name in names.split(",") if name]


def modules_load(directory, wanted):
    """[(file name, bytes)] in the order in which the modules must be loaded. A module that is
    built in, as its dependencies may be, is left out."""
    files = {}
    for path in glob.glob(directory + "/kernel/**/*.ko*", recursive=True):
        files[re.sub(r"\.ko.*", "", os.path.basename(path)).replace("-", "_")] = path
    with open(directory + "/modules.builtin", encoding="utf-8") as file:
        builtin = {os.path.basename(line.strip())[:-3].replace("-", "_") for line in file}
    order, data = [], {}

    def visit(name):
        name = name.replace("-", "_")
        if name in builtin or name in data:
            return
        if name not in files:
            raise GuestError(f"{directory} has no module {name}")
        data[name] = module_read(files[name])
        for needed in module_dependencies(data[name]):
            visit(needed)
        order.append(name)

    for name in wanted:
        visit(name)
    return [(name + ".ko", data[name]) for name in order]


class Cpio:
    """An archive as the kernel unpacks it. Documentation/driver-api/early-userspace:
    buffer-format, the newc header."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0
        self.directories = {""}

    def _pad(self):
        self.data += b"\0" * (-len(self.data) % 4)

    def _entry(self, name, mode, content=b"", device=(0, 0), links=1):
        self.inode += 1
        encoded = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, links, FILE_TIME, len(content), 0, 0, device[0],
                  device[1], len(encoded), 0)
        self.data += b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self._pad()
        self.data += content
        self._pad()

    def directory(self, name):
        if name not in self.directories:
            self.directory(os.path.dirname(name))
            self.directories.add(name)
            self._entry(name, stat.S_IFDIR | 0o755, links=2)

    def file(self, name, content, mode=0o644):
        self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFREG | mode, content)

    def device(self, name, major, minor):
        self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def symlink(self, name, target):
        self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def finish(self):
        self.inode = -1
        self._entry("TRAILER!!!", 0)
        return bytes(self.data.ljust((len(self.data) + 511) // 512 * 512, b"\0"))


def added(text):
    """PATH=FILE: (path in the archive, bytes, mode)."""
    path, _, source = text.partition("=")
    if not path.strip("/") or not source:
        raise GuestError(f"--add {text}: PATH=FILE is expected")
    with open(source, "rb") as file:
        mode = 0o755 if os.fstat(file.fileno()).st_mode & 0o100 else 0o644
        return path.strip("/"), file.read(), mode


def initramfs_make(modules_directory, additions=(), more_modules=()):
    """The archive's bytes. additions: [(path, bytes, mode)], which end up over what is there."""
    if not os.path.exists(BUSYBOX):
        raise GuestError(f"{BUSYBOX} is missing; install busybox-static")
    with open(BUSYBOX, "rb") as file:
        busybox = file.read()
    if b"/lib64/ld-linux-x86-64.so.2\0" in busybox[:4096]:
        raise GuestError(f"{BUSYBOX} is linked dynamically; install busybox-static")
    archive = Cpio()
    for name in ("bin", "dev", "proc", "sys", "root", "tmp", "mnt", "etc", "lib/modules"):
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox, 0o755)
    archive.symlink("bin/sh", "busybox")
    archive.file("init", INIT.encode(), 0o755)
    modules = modules_load(modules_directory, [*MODULES, *more_modules])
    for name, data in modules:
        archive.file("lib/modules/" + name, data)
    archive.file("lib/modules/order", "".join(name + "\n" for name, _ in modules).encode())
    for path, content, mode in additions:
        archive.file(path, content, mode)
    return archive.finish()


def initramfs(arguments):
    write_file(arguments.out, initramfs_make(os.path.realpath(arguments.modules),
                                             [added(text) for text in arguments.add],
                                             arguments.module))


# ---- The disk ------------------------------------------------------------------------------------


def disk(arguments):
    part = arguments.out + ".part"
    environment = dict(os.environ, E2FSPROGS_FAKE_TIME=str(FILE_TIME), TZ="UTC")
    environment["PATH"] += ":/usr/sbin:/sbin"
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "README"), "w", encoding="utf-8") as file:
            file.write("The disk of Traprock's default guest. What is written here lives until "
                       "power-off.\n")
        try:
            with open(part, "wb") as file:
                file.truncate(arguments.size << 20)
            run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "traprock", "-U", DISK_UUID, "-E",
                 f"hash_seed={DISK_UUID},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0",
                 "-d", directory, part], env=environment)
            # mke2fs takes the times of what it copies from the host's files.
            commands = [f'set_inode_field "{name}" {field} @{FILE_TIME}' for name in ("/", "/README")
                        for field in ("atime", "ctime", "mtime")]
            commands += ['set_inode_field "/README" uid 0', 'set_inode_field "/README" gid 0']
            script = os.path.join(directory, "commands")
            with open(script, "w", encoding="utf-8") as file:
                file.write("\n".join(commands) + "\n")
            run(["debugfs", "-w", "-f", script, part], env=environment)
            os.replace(part, arguments.out)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)


# ---- The command ---------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("fetch", help="unpack a kernel's package")
    command.add_argument("--package", default="linux-image-cloud-amd64")
    command.add_argument("--out", required=True)
    command.set_defaults(call=fetch)
    command = commands.add_parser("file", help="take one file out of a package")
    command.add_argument("--package", required=True)
    command.add_argument("--path", required=True, help="in the package; may be a pattern")
    command.add_argument("--out", required=True)
    command.set_defaults(call=package_file)
    command = commands.add_parser("vmlinux", help="unpack the kernel inside a bzImage")
    command.add_argument("--kernel", required=True)
    command.add_argument("--out", required=True)
    command.set_defaults(call=vmlinux)
    command = commands.add_parser("initramfs", help="make the root file system in memory")
    command.add_argument("--modules", required=True, help="lib/modules/VERSION of the kernel")
    command.add_argument("--out", required=True)
    command.add_argument("--add", action="append", default=[], metavar="PATH=FILE",
                         help="one more file; /test.sh is run instead of a shell")
    command.add_argument("--module", action="append", default=[], metavar="NAME",
                         help="one more module to load")
    command.set_defaults(call=initramfs)
    command = commands.add_parser("disk", help="make an ext4 disk")
    command.add_argument("--out", required=True)
    command.add_argument("--size", type=int, default=64, help="MiB (%(default)s)")
    command.set_defaults(call=disk)
    arguments = parser.parse_args()
    try:
        arguments.call(arguments)
    except (GuestError, OSError) as error:
        print(f"guest_files.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
