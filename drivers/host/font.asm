; The console font, as tests/vm/font.py wrote it. FONT, given by the build: the file's path, quoted.

section .rodata align=16

global framebuffer_font:data
global framebuffer_font_end:data
framebuffer_font:
        incbin FONT
framebuffer_font_end:

section .note.GNU-stack noalloc noexec nowrite progbits
