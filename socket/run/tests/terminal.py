# Job control: an interactive bash on a pseudo-terminal runs a program under io-pkt-run. usage: terminal.py RUNNER OPTION
import os, pty, re, select, sys, time

runner, option = sys.argv[1:3]
pid, tty = pty.fork()
if pid == 0:
    os.environ["PS1"] = "PROMPT:"
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])

seen = ""


def until(pattern):
    global seen
    end = time.monotonic() + 20
    while True:
        m = re.search(pattern, seen)
        if m:
            seen = seen[m.end():]
            return m
        assert time.monotonic() < end, "wanted %r, have %r" % (pattern, seen)
        if select.select([tty], [], [], 0.2)[0]:
            seen += os.read(tty, 4096).decode(errors="replace")


def say(text):
    os.write(tty, text.encode())


until("PROMPT:")
say("stty -echo\n")
until("PROMPT:")
say("%s %s sh -c 'echo started; while read line; do echo got:$line; done'\n" % (runner, option))
until("started")
say("one\n")
until("got:one")
say("\x1a")
until("Stopped")
until("PROMPT:")
say("fg\n")
until("sh -c")
say("two\n")
until("got:two")
say("\x03")
until("PROMPT:")
say("echo status:$?\n")
assert until(r"status:(\d+)").group(1) == "130", seen
say("%s %s sh -c 'trap \"echo interrupted; exit 9\" INT; echo ready; while :; do sleep 0.1; done'\n" % (runner, option))
until("ready")
say("\x03")
until("interrupted")
until("PROMPT:")
say("echo status:$?\n")
assert until(r"status:(\d+)").group(1) == "9", seen
assert "interrupted" not in seen, "the signal came twice"
say("%s %s sleep 1000 &\n" % (runner, option))
until("PROMPT:")
say("kill %1; wait %1; echo status:$?\n")
assert until(r"status:(\d+)").group(1) == "143", seen
say("exit\n")
print("all good")
