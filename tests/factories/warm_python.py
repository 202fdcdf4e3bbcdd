"""``python`` for a shell, without the seconds that imports take: a process that has them forks into each program.

``warm_python.py serve <socket>`` waits; ``warm_python.py call <socket> <words>`` is ``python <words>`` with the
caller's folder, environment and streams, and ends with its status. A program ends with its caller.
"""

import array
import json
import os
import select
import signal
import socket
import sys

STREAMS = 3


def call(path: str, words: list[str]) -> int:
    """Have a program run, and return its exit status."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        order = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
        streams = array.array("i", range(STREAMS))
        line.sendmsg([len(order).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        line.sendall(order)
        return int.from_bytes(line.recv(1) or b"\1", "big")


def answer(line: socket.socket) -> None:
    """Run the program that a caller asks for."""
    head, streams, *_ = socket.recv_fds(line, 4, STREAMS)
    order = b""
    while len(order) < int.from_bytes(head, "big"):
        order += line.recv(1 << 16)
    words, folder, environ = json.loads(order)
    if (pid := os.fork()) == 0:
        line.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        become(words)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(pid)
    if ended not in select.select([line, ended], [], [])[0]:  # the caller is gone
        os.kill(pid, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    line.sendall(bytes([status if status >= 0 else 128 - status]))


def become(words: list[str]) -> None:
    """Turn this process into ``python <words>``."""
    import atexit
    import runpy

    from fork_server import reset_signals  # type: ignore[import-not-found]

    reset_signals()
    sys.path[:0] = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    status = 1
    try:
        match words:
            case ["-"]:
                sys.argv = ["-"]
                sys.path.insert(0, os.getcwd())
                exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})
            case ["-c", text, *rest]:
                sys.argv = ["-c", *rest]
                sys.path.insert(0, "")
                exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
            case ["-m", module, *rest]:
                sys.argv = [module, *rest]
                sys.path.insert(0, os.getcwd())
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            case [script, *rest]:
                sys.argv = [script, *rest]
                sys.path.insert(0, os.path.dirname(os.path.realpath(script)))
                runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            sys.stderr.write(f"{stop.code}\n")
    except BaseException:  # noqa: BLE001 - what Python itself would print
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve(path: str) -> None:
    """Answer callers until the process is ended."""
    import fork_server  # noqa: F401 - what programs import

    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            line, _ = door.accept()
            if os.fork() == 0:
                door.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                try:
                    answer(line)
                finally:
                    os._exit(0)
            line.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(call(sys.argv[2], sys.argv[3:]))
