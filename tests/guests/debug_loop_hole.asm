; The same loop of #DB on a stack where there is no memory: the monitor makes each delivery itself, and
; meets the breakpoints in it.
%define STACK_IN_HOLE
%include "tests/guests/debug_loop.asm"
