; The smallest guest: one line, and a debug exit of 0.
%include "tests/guests/lib.inc"

main:
    TEST "hello"
    ret
