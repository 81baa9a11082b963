#!/usr/bin/env python3
"""Writes a disk image that starts Traprock: a GPT with one EFI system partition.

    image.py --conf CONF --efi BOOTX64.EFI --config-tool TOOL --out IMG

The partition (FAT16, or FAT32 from 60 MiB on) holds \\EFI\\BOOT\\BOOTX64.EFI and, beside it,
the configuration as traprock.conf with the files that it names, under their own names. The same
input gives the same image, byte for byte. IMG may be a block device; then nothing of it may be
mounted. Needs Debian's dosfstools and mtools, and no privileges.
"""

import argparse
import os
import re
import stat
import struct
import subprocess
import sys
import tempfile
import uuid
import zlib

SECTOR = 512
# Bochs wants cylinders of 16 heads and 63 sectors.
SIZE_MULTIPLE = 16 * 63 * SECTOR
PARTITION_START = 2048  # sectors: 1 MiB, as every partitioning tool has it
GPT_ENTRIES = 128
GPT_ENTRY_SIZE = 128
GPT_TABLE_SECTORS = GPT_ENTRIES * GPT_ENTRY_SIZE // SECTOR
FAT32_FROM = 60 << 20  # below, 1 KiB clusters of FAT16 reach
FAT_FILE_MAX = (1 << 32) - 1

# Fixed, so that images can be compared. The first is what UEFI calls an EFI system partition.
TYPE_ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
DISK_ID = uuid.UUID("54524150-524f-434b-a000-000000000001")
PARTITION_ID = uuid.UUID("54524150-524f-434b-a000-000000000002")
VOLUME_ID = "5452504b"
FILE_TIME = "1672531200"  # of every file in the image: 2023-01-01

EFI_PATH = "EFI/BOOT/BOOTX64.EFI"
CONF_PATH = "EFI/BOOT/traprock.conf"


class ImageError(Exception):
    """What is wrong, and what to do; for the user."""


def round_up(value, multiple):
    return (value + multiple - 1) // multiple * multiple


# ---- What goes into the image --------------------------------------------------------------------


def named_files(tool, conf):
    """[(line, name)] for the files that the configuration names, checked by TOOL, which is built
    from the monitor's own parser."""
    try:
        run = subprocess.run([tool, conf], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             check=False)
    except OSError as error:
        raise ImageError(f"cannot run {tool}: {error.strerror}; build it first") from error
    if run.returncode != 0:
        raise ImageError(run.stderr.decode(errors="replace").strip()
                         or f"{tool} {conf} ended with {run.returncode}")
    return [tuple(row.split(" ", maxsplit=1)) for row in run.stdout.decode().splitlines()]


def regular_file(path, where):
    """The size of the file, which must be one and not be empty."""
    try:
        status = os.stat(path)
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ImageError(f"{where}: cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{where}: {path} is no regular file; name a file")
    if status.st_size == 0:
        raise ImageError(f"{where}: {path} is empty; build or copy it again")
    if status.st_size > FAT_FILE_MAX:
        raise ImageError(f"{where}: {path} has {status.st_size} bytes; "
                         f"a file on the boot volume has less than 4 GiB")
    return status.st_size


def gather(conf, efi, tool):
    """[(path in the image, source, size)], the program and the configuration first."""
    files = [(EFI_PATH, efi, regular_file(efi, "image.py")),
             (CONF_PATH, conf, regular_file(conf, "image.py"))]
    taken = {path.lower(): path for path, _, _ in files}
    for line, name in named_files(tool, conf):
        where = f"{conf}:{line}"
        path = os.path.dirname(CONF_PATH) + "/" + name
        if taken.setdefault(path.lower(), path) != path or path in (EFI_PATH, CONF_PATH):
            raise ImageError(f'{where}: "{name}" and "{os.path.basename(taken[path.lower()])}" '
                             f"are one name on a FAT file system; rename one of them")
        source = os.path.join(os.path.dirname(conf), name)
        files.append((path, source, regular_file(source, where)))
    return files


# ---- The file system -----------------------------------------------------------------------------


def fat_layout(files):
    """(bytes, FAT type, bytes in a cluster) of a file system that holds the files."""
    for cluster, fat in ((1024, 16), (512, 32), (1024, 32), (2048, 32), (4096, 32), (32768, 32)):
        # Directories: 32 bytes for an entry, as many for each 13 characters of its long name.
        directories = sum(32 * (2 + len(path) // 13) for path, _, _ in files)
        used = sum(round_up(size, cluster) for _, _, size in files) + round_up(directories, cluster)
        used += 8 * cluster * (1 + len({os.path.dirname(path) for path, _, _ in files}))
        tables = 2 * (used // cluster + 2) * (fat // 8)
        size = round_up(used + tables + (512 << 10), 1 << 20)
        if fat == 16 and size <= FAT32_FROM:
            return max(size, 8 << 20), fat, cluster
        # FAT32 has 65525 clusters or more; and the tables are to stay small.
        if fat == 32 and (size < 1 << 22 | cluster << 18 or cluster == 32768):
            return max(size, (66100 + 2 * 66100 * 4 // cluster) * cluster), fat, cluster
    raise AssertionError("the last row fits")


def tool_run(arguments):
    environment = dict(os.environ, SOURCE_DATE_EPOCH=FILE_TIME, TZ="UTC", LC_ALL="C",
                       MTOOLS_SKIP_CHECK="1", MTOOLSRC="/dev/null")
    environment["PATH"] = environment.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        subprocess.run(arguments, env=environment, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError as error:
        raise ImageError(f"{arguments[0]} is missing; install dosfstools and mtools") from error
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip()
        raise ImageError(f"{arguments[0]} failed: {message}") from error


def fat_write(path, files):
    """Makes the file system in the file at path; returns its size in bytes."""
    size, fat, cluster = fat_layout(files)
    with open(path, "wb") as file:
        file.truncate(size)
    tool_run(["mkfs.vfat", "--invariant", "-F", str(fat), "-s", str(cluster // SECTOR), "-S",
              str(SECTOR), "-h", str(PARTITION_START), "-i", VOLUME_ID, "-n", "TRAPROCK", path])
    made = set()
    for target, source, _ in files:
        parts = target.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            directory = "/".join(parts[:depth])
            if directory.lower() not in made:
                made.add(directory.lower())
                tool_run(["mmd", "-i", path, "::/" + directory])
        tool_run(["mcopy", "-i", path, source, "::/" + target])
    return size


# ---- The partition table -------------------------------------------------------------------------


def gpt_header(own, other, last_usable, table, table_crc):
    """UEFI: GPT Header, for the copy in sector own whose table begins in sector table."""
    fields = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other,
                         2 + GPT_TABLE_SECTORS, last_usable, DISK_ID.bytes_le, table, GPT_ENTRIES,
                         GPT_ENTRY_SIZE, table_crc)
    crc = zlib.crc32(fields)
    return (fields[:16] + struct.pack("<I", crc) + fields[20:]).ljust(SECTOR, b"\0")


def partition_table(sectors, partition_sectors):
    """(what stands at the disk's start, what stands at its end). UEFI: GUID Partition Table."""
    last_partition = PARTITION_START + partition_sectors - 1
    entry = struct.pack("<16s16sQQQ72s", TYPE_ESP.bytes_le, PARTITION_ID.bytes_le, PARTITION_START,
                        last_partition, 0, "EFI system".encode("utf-16-le"))
    table = entry.ljust(GPT_ENTRIES * GPT_ENTRY_SIZE, b"\0")
    crc = zlib.crc32(table)
    last_usable = sectors - 2 - GPT_TABLE_SECTORS
    # UEFI: Protective MBR.
    mbr_entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1,
                            min(sectors - 1, 0xFFFFFFFF))
    mbr = (b"\0" * 446 + mbr_entry).ljust(510, b"\0") + b"\x55\xaa"
    start = mbr + gpt_header(1, sectors - 1, last_usable, 2, crc) + table
    end = table + gpt_header(sectors - 1, 1, last_usable, sectors - 1 - GPT_TABLE_SECTORS, crc)
    return start, end


# ---- The image -----------------------------------------------------------------------------------


def copy_into(target, offset, path):
    """Copies the file to the offset, leaving holes where it has zeros and the target has none."""
    with open(path, "rb") as source:
        while block := source.read(1 << 20):
            if target.holes and not block.strip(b"\0"):
                offset += len(block)
                continue
            target.file.seek(offset)
            target.file.write(block)
            offset += len(block)


class Target:
    """Where the image goes: a file, replaced only when the image is whole, or a block device."""

    def __init__(self, path, size):
        self.path, self.size = path, size
        try:
            status = os.stat(path)
        except FileNotFoundError:
            status = None
        self.holes = status is None or not stat.S_ISBLK(status.st_mode)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a directory; name a file or a block device")
        if self.holes:
            self.part = path + ".part"
            self.file = open(self.part, "wb")
            self.file.truncate(size)
        else:
            self.part = None
            self.check_device()
            self.file = open(path, "r+b")

    def check_device(self):
        device = os.path.realpath(self.path)
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            for line in mounts:
                source, where = line.split()[:2]
                if re.fullmatch(re.escape(device) + r"(p?\d+)?", os.path.realpath(source)):
                    raise ImageError(f"{source} is mounted on {where}; unmount it first")
        with open(device, "rb") as file:
            room = file.seek(0, os.SEEK_END)
        if room < self.size:
            raise ImageError(f"{self.path} has {room} bytes, and the image {self.size}; "
                             f"use a larger one")

    def finish(self):
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        if self.part is not None:
            os.replace(self.part, self.path)

    def abandon(self):
        self.file.close()
        if self.part is not None:
            os.unlink(self.part)


def image_write(files, out, multiple):
    with tempfile.TemporaryDirectory(prefix="traprock-image-") as directory:
        fat = os.path.join(directory, "esp")
        fat_size = fat_write(fat, files)
        size = round_up(PARTITION_START * SECTOR + fat_size + (GPT_TABLE_SECTORS + 1) * SECTOR,
                        multiple)
        start, end = partition_table(size // SECTOR, fat_size // SECTOR)
        target = Target(out, size)
        try:
            target.file.write(start)
            copy_into(target, PARTITION_START * SECTOR, fat)
            target.file.seek(size - len(end))
            target.file.write(end)
            target.finish()
        except BaseException:
            target.abandon()
            raise
    return size


def arguments_parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conf", required=True, help="the configuration")
    parser.add_argument("--efi", required=True, help="the UEFI program")
    parser.add_argument("--config-tool", required=True,
                        help="checks a configuration and prints the files that it names")
    parser.add_argument("--out", required=True, help="the image, or a block device")
    parser.add_argument("--size-multiple", type=int, default=SIZE_MULTIPLE,
                        help="the image's size is a multiple of this many bytes (%(default)s)")
    arguments = parser.parse_args()
    if arguments.size_multiple <= 0 or arguments.size_multiple % SECTOR != 0:
        parser.error(f"--size-multiple must be a positive multiple of {SECTOR}")
    return arguments


def main():
    arguments = arguments_parse()
    try:
        files = gather(arguments.conf, arguments.efi, arguments.config_tool)
        size = image_write(files, arguments.out, arguments.size_multiple)
    except ImageError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cannot write {error.filename or arguments.out}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{arguments.out}: {size >> 20} MiB, {len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
