"""An image of a user's configuration with some keys changed, in a copy: for `make gdb` and `make trace`."""

import os
import re

import image

SECTION = re.compile(r"^\s*\[\s*(traprock|vm\b[^\]]*)\]")
KEY = re.compile(r"^\s*([a-z-]+)\s*=\s*(.*?)(\s+#.*)?$")


class Section:
    """name: what stands between the brackets; keys: {key: (number of its line, value)}; line: number of its first
    line."""

    def __init__(self, name, line):
        self.name, self.line, self.keys = name, line, {}

    def value(self, key, default=None):
        return self.keys.get(key, (None, default))[1]


class Configuration:
    """The monitor's section, which may be None, and the first guest's."""

    def __init__(self, text):
        self.lines = text.splitlines()
        found = []
        for number, line in enumerate(self.lines):
            section, key = SECTION.match(line), KEY.match(line)
            if section:
                found.append(Section(section.group(1), number))
            elif key and found:
                found[-1].keys.setdefault(key.group(1), (number, key.group(2).strip('"')))
        self.monitor = next((section for section in found if section.name == "traprock"), None)
        self.guest = next((section for section in found if section.name.startswith("vm")), None)
        if self.guest is None:
            raise image.ImageError("the configuration has no guest, that is no section [vm NAME]")

    def changed(self, monitor, guest):
        """Its text with these keys, {key: value}, in both sections: where they stand, else behind the head."""
        lines, added = list(self.lines), {}
        for section, keys in ((self.monitor, monitor), (self.guest, guest)):
            for key, value in keys.items() if section else ():
                if key in section.keys:
                    lines[section.keys[key][0]] = f"{key} = {value}"
                else:
                    added.setdefault(section.line, []).append(f"{key} = {value}")
        for number in sorted(added, reverse=True):
            lines[number + 1:number + 1] = added[number]
        if self.monitor is None:
            lines[:0] = ["[traprock]"] + [f"{key} = {value}" for key, value in monitor.items()]
        return "\n".join(lines) + "\n"


def write(arguments, folder, prepare):
    """Writes the image of arguments.conf as prepare(text) has it, which returns the text and something else;
    returns the image's name and that."""
    files = image.gather(arguments.conf, arguments.efi, arguments.config_tool)
    with open(arguments.conf, encoding="utf-8") as file:
        text, other = prepare(file.read())
    conf, out = os.path.join(folder, "traprock.conf"), os.path.join(folder, "disk.img")
    with open(conf, "w", encoding="utf-8") as file:
        file.write(text)
    image.named_files(arguments.config_tool, conf)  # says what is wrong with it
    files[1] = (files[1][0], conf, os.path.getsize(conf))
    image.image_write(files, out, image.SIZE_MULTIPLE)
    return out, other
