"""Whole programs of users: where their functions come from, and what of their modules goes along."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemons import Daemon, ended

#: What each program begins with: `made` makes clusters on the node of the tests, `told` prints what a job came to.
BEGIN = """\
import os, sys, gdispy
def made(computation, **options):
    return gdispy.JobCluster(computation, nodes=[os.environ["TEST_NODE"]], **options)
def told(computation, *args, **options):
    cluster = made(computation, **options)
    job = cluster.submit(*args)
    ended = job.wait(15)
    print(job.result if ended and job.status == job.Finished else (ended, job.exception, cluster.status().problems))
    cluster.close(timeout=0, terminate=True)
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the program is, which nothing else looks into."""
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def run(node: Daemon, secret_file: str, home: Path) -> Run:
    """Writes the files of a program and runs one of them: `main.py`, or what `words` say."""

    def start(files: dict[str, str], *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        for name, text in files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((BEGIN if path.name in ("main.py", "__main__.py") else "") + textwrap.dedent(text))
        place = f"{node.place[0]}:{node.place[1]}"
        env = {**os.environ, "TEST_NODE": place, "GDISPY_SECRET_FILE": secret_file, **environment}
        command = [sys.executable, *(words or ["main.py"])]
        process = subprocess.Popen(
            command,
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with ended(process):
            out, error = process.communicate(timeout=90)
            return subprocess.CompletedProcess(command, process.returncode, out, error)

    return start


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the program printed, which has ended well."""
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


# Modules of the program


def test_of_the_module_of_a_function_nothing_is_run_that_it_does_not_refer_to(run: Run) -> None:
    """Its imports, files that it reads, and words of the command are the client's business."""
    files = {
        "mymod.py": """
            import os, sys
            import helper_of_client
            from helper_of_client import unused
            CONFIG = open("config.txt").read()
            assert sys.argv[1:] == ["--ok"], sys.argv
            with open("run.txt", "a") as file: file.write(f"{os.getpid()}\\n")
            FACTOR = helper_of_client.X + 1
            def inner(n): return n * FACTOR
            def compute(n): return inner(n), os.getpid() != PID
            PID = os.getpid()
            class Model:
                def __init__(self, n): self.n = n
                def go(self): return inner(self.n), isinstance(self, Model), self
            """,
        "helper_of_client.py": "X = 1\ndef unused(): pass\n",
        "config.txt": "cfg",
        "main.py": """
            import mymod
            if __name__ == "__main__":
                told(mymod.compute, 3)
                told(mymod.Model(4).go)
                with made(mymod.Model.go) as cluster: print(type(cluster.submit(mymod.Model(5))()[2]) is mymod.Model)
                print(open("run.txt").read() == f"{os.getpid()}\\n")
            """,
    }
    first, second, *rest = lines(run(files, "main.py", "--ok"))
    assert (first, second[:11], rest) == ("(6, True)", "(8, True, <", ["True", "True"])


def test_of_a_package_no_data_go_along(run: Run, node: Daemon) -> None:
    package = {"big/__init__.py": "", "big/helper.py": "def two(): return 2\n"}
    work = """
        from big import helper
        def compute(n):
            from big.later import three
            return n, helper.two(), three()
        """
    main = """
        os.makedirs("big/data")
        with open("big/data/train.bin", "wb") as file: file.truncate(300 * 1024 * 1024)
        import pathlib, time
        from big.work import compute
        if __name__ == "__main__":
            begin = time.monotonic()
            with made(compute) as cluster:
                print(cluster.submit(1)())
                print([path.name for path in pathlib.Path(sys.argv[1]).rglob("*.bin")], time.monotonic() - begin < 5)
        """
    later = {"big/later.py": "def three(): return 3\n", "big/unrelated.py": "raise SystemExit('it is run')\n"}
    prefix = str(node.log.parent / "prefix")
    done = run({**package, **later, "big/work.py": work, "main.py": main}, "main.py", prefix)
    assert lines(done) == ["(1, 2, 3)", "[] True"]


def test_data_that_are_asked_for_go_along(run: Run) -> None:
    files = {
        "pack/__init__.py": "",
        "pack/templates/a.txt": "hello",
        "pack/templates/b.bin": "no",
        "pack/reads.py": """
            import os
            def names(): return sorted(os.listdir(os.path.join(os.path.dirname(__file__), "templates")))
            """,
        "main.py": """
            def work():
                import pack.reads
                return pack.reads.names()
            if __name__ == "__main__": told(work, data=["templates/*.txt"])
            """,
    }
    assert lines(run(files)) == ["['a.txt']"]


def test_modules_that_are_imported_inside_go_along_with_what_they_need(run: Run) -> None:
    files = {
        "outer.py": "import second\nfrom pack.sub import deep\ndef go(): return second.VALUE, deep.name(), deep.up()\n",
        "second.py": "VALUE = 2\n",
        "unrelated.py": "raise RuntimeError\n",
        "pack/__init__.py": "NAME = 'pack'\n",
        "pack/sub/__init__.py": "",
        "pack/sub/deep.py": """
            from .. import NAME
            from . import other
            def name(): return NAME
            def up(): return other.X
            """,
        "pack/sub/other.py": "X = 'x'\n",
        "main.py": """
            import pack.sub.deep
            def inside():
                import outer
                return outer.go()
            def lazily():
                from importlib import import_module
                return pack.sub.deep.name()
            class Method:
                def go(self):
                    def inner():
                        from pack.sub.other import X
                        return X
                    return inner()
            if __name__ == "__main__":
                told(inside)
                told(lazily)
                told(Method().go)
                print("outer" in sys.modules)
            """,
    }
    assert lines(run(files)) == ["(2, 'pack', 'x')", "pack", "x", "False"]


def test_modules_of_the_program_that_know_each_other(run: Run) -> None:
    files = {
        "one.py": """
            import two
            class A:
                def make(self): return two.B()
            def up(n): return n if n > 5 else two.down(n + 2)
            """,
        "two.py": """
            import one
            class B:
                def make(self): return one.A()
            def down(n): return one.up(n - 1)
            """,
        "main.py": """
            import one, two
            from one import up as renamed
            def work(a):
                numbers = one.up(1), renamed(2), two.down(5)
                return type(a.make().make()) is one.A, *numbers, one.up is renamed, a.make()
            if __name__ == "__main__":
                with made(work) as cluster: *rest, back = cluster.submit(one.A())()
                print(rest, type(back) is two.B)
                told(one.up, 1)
            """,
    }
    assert lines(run(files)) == ["[True, 6, 6, 6, True] True", "6"]


def test_a_module_that_was_loaded_under_another_name(run: Run) -> None:
    files = {
        "plug-in.py": """
            K = 5
            def helper(n): return n + K
            class Box:
                def __init__(self, n): self.n = n
            def work(n): return helper(n), isinstance(Box(1), Box)
            def box(n): return Box(n)
            """,
        "main.py": """
            import importlib.util
            def load(name, is_known):
                spec = importlib.util.spec_from_file_location(name, "plug-in.py")
                module = importlib.util.module_from_spec(spec)
                if is_known: sys.modules[name] = module
                spec.loader.exec_module(module)
                return module
            if __name__ == "__main__":
                for name, is_known in (("plug_in", True), ("a.b.c", True), ("nobody_knows", False), ("json", False)):
                    module = load(name, is_known)
                    told(module.work, 1)
                    with made(module.box) as cluster: print(type(cluster.submit(2)()) is module.Box)
            """,
    }
    assert lines(run(files)) == ["(6, True)", "True"] * 4


def test_each_portion_of_a_namespace_package(run: Run) -> None:
    files = {
        "a/space/one/mod.py": "def f(n): return n + 1\n",
        "b/space/two/mod.py": "from space.one.mod import f\ndef g(n): return f(n) + 1\nclass Box: pass\n",
        "main.py": """
            sys.path += [os.path.abspath("a"), os.path.abspath("b")]
            import space.one.mod, space.two.mod
            def outside(n): return space.one.mod.f(n), space.two.mod.g(n)
            def inside(n):
                import space.one.mod, space.two.mod
                return space.one.mod.f(n), space.two.mod.g(n)
            def box(): return space.two.mod.Box()
            if __name__ == "__main__":
                os.chdir("/")
                told(space.one.mod.f, 1)
                told(space.two.mod.g, 1)
                told(outside, 1)
                told(inside, 1)
                told(inside, 1, depends=[space])
                with made(box) as cluster: print(type(cluster.submit()()) is space.two.mod.Box)
            """,
    }
    assert lines(run(files)) == ["2", "3", "(2, 3)", "(2, 3)", "(2, 3)", "True"]


def test_an_application_in_a_zip_file(run: Run, home: Path) -> None:
    main = BEGIN + textwrap.dedent("""
        import mod, pack.inner
        def own(n): return mod.work(n) + 1
        def inside(n):
            import pack.lazy
            return pack.lazy.f(n)
        if __name__ == "__main__":
            told(mod.work, 4)
            told(pack.inner.g, 4)
            told(own, 4)
            told(inside, 4)
            with made(mod.Box) as cluster: print(type(cluster.submit()()) is mod.Box)
        """)
    with zipfile.ZipFile(home / "app.pyz", "w") as file:
        file.writestr("__main__.py", main)
        file.writestr("mod.py", "def work(n): return n + 1\nclass Box: pass\n")
        file.writestr("pack/__init__.py", "")
        file.writestr("pack/inner.py", "from . import lazy\ndef g(n): return lazy.f(n) + 2\n")
        file.writestr("pack/lazy.py", "def f(n): return n + 3\n")
    assert lines(run({}, "app.pyz")) == ["5", "9", "6", "7", "True"]


@pytest.mark.parametrize("words", [("-m", "app"), ("-m", "app.main"), ("app/main.py",), ("-c", "import app.main")])
def test_a_program_that_is_a_package(run: Run, words: tuple[str, ...]) -> None:
    text = """
        import enum
        try: from .helper import help
        except ImportError: from app.helper import help
        class Kind(enum.Enum):
            ONE = 1
        def work(n, kind=Kind.ONE): return help(n), kind is Kind.ONE, kind
        def relative():
            if not __package__: return "x"
            from . import helper
            return helper.NAME
        if __name__ in ("__main__", "app.main"):
            with made(work) as cluster: first, second, kind = cluster.submit(1)()
            print(first, second, kind is Kind.ONE)
            told(relative)
        """
    files = {"app/__init__.py": "", "app/helper.py": "NAME = 'x'\ndef help(n): return n + 1\n", "app/main.py": text}
    done = run({**files, "app/__main__.py": text}, *words, PYTHONPATH=".")
    assert lines(done) == ["2 True True", "x"]


@pytest.mark.parametrize("how", ["-c", "-", "-i"])
def test_a_program_without_a_file(node: Daemon, secret_file: str, home: Path, how: str) -> None:
    text = BEGIN + textwrap.dedent("""
        import enum
        class Kind(enum.Enum):
            ONE = 1

        def helper(n): return n + 1

        def work(n, kind): return helper(n), kind is Kind.ONE, kind

        with made(work) as cluster: print(cluster.submit(1, Kind.ONE)()[2] is Kind.ONE)

        told(lambda: helper(3))
        """)
    env = {**os.environ, "TEST_NODE": f"{node.place[0]}:{node.place[1]}", "GDISPY_SECRET_FILE": secret_file}
    words, given = ([how, text], "") if how == "-c" else ([how], text.replace("def made", "\ndef made"))
    if how == "-i":  # An interactive session ends a block by an empty line.
        given = given.replace("def told", "\ndef told").replace("import enum", "\nimport enum")
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=home,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended(process):
        out, error = process.communicate(given, timeout=60)
    assert out.splitlines() == ["True", "4"], error


def test_doctests_and_executed_cells(run: Run) -> None:
    files = {
        "tested.py": '''
            """
            >>> class D:
            ...     def __init__(self, n): self.n = n
            >>> def f(d):
            ...     return isinstance(d, D), D(d.n + 1)
            >>> with made(f) as cluster: told = cluster.submit(D(1))()
            >>> told[0], told[1].n, isinstance(told[1], D)
            (True, 2, True)
            """
            ''',
        "main.py": """
            import code, doctest, tested
            if __name__ == "__main__":
                print(doctest.testmod(tested, extraglobs={"made": made}))
                console = code.InteractiveConsole({"__name__": "__console__", "made": made, "__doc__": None})
                for line in ("class D:", "    n = 1", "", "def f(d): return isinstance(d, D), D()", "",
                             "with made(f) as cluster: back = cluster.submit(D())()", "",
                             "print(back[0], isinstance(back[1], D))"): console.push(line)
            """,
    }
    assert lines(run(files)) == ["TestResults(failed=0, attempted=4)", "True True"]


# Processes


def test_pools_within_a_job_have_the_functions_of_the_program(run: Run) -> None:
    files = {
        "own.py": "def triple(n): return 3 * n\n",
        "main.py": """
            import concurrent.futures, enum, multiprocessing, own
            class Kind(enum.Enum):
                ONE = 1
            class Box:
                def __init__(self, n): self.n = n
                def times(self, k): return self.n * k
            def helper(n): return n * 10
            def boxed(n): return Box(n)
            def kind(n): return Kind.ONE
            CONTEXT = "fork"
            def pool(n):
                with multiprocessing.get_context(CONTEXT).Pool(2) as pool:
                    boxes = pool.map_async(boxed, range(n)).get(9)
                    return (pool.map_async(helper, range(n)).get(9), [isinstance(each, Box) for each in boxes],
                            pool.map_async(Box(2).times, range(n)).get(9), pool.map_async(own.triple, range(n)).get(9),
                            pool.apply_async(kind, (1,)).get(9) is Kind.ONE)
            def executor(n):
                context = multiprocessing.get_context(CONTEXT)
                with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                    return list(pool.map(helper, range(n), timeout=9)), pool.submit(boxed, 3).result(9).n
            def process(n):
                context = multiprocessing.get_context(CONTEXT)
                queue = context.Queue()
                child = context.Process(target=lambda: queue.put(helper(n)))
                child.start()
                found = queue.get(timeout=9)
                child.join(9)
                return found
            if __name__ == "__main__":
                for options in ({}, {"depends": [helper]}):
                    told(pool, 3, **options)
                    told(executor, 3, **options)
                told(process, 3)
                with made(pool) as cluster: print(cluster.submit(3, dispy_job_depends=[helper])()[0])
            """,
    }
    in_pool = "([0, 10, 20], [True, True, True], [0, 2, 4], [0, 3, 6], True)"
    in_executor = "([0, 10, 20], 3)"
    assert lines(run(files)) == [in_pool, in_executor, in_pool, in_executor, "30", "[0, 10, 20]"]


@pytest.mark.parametrize("how", ["spawn", "forkserver", "fork"])
def test_a_cluster_in_a_child_of_multiprocessing(run: Run, how: str) -> None:
    files = {
        "main.py": f"""
            import enum, multiprocessing
            class Kind(enum.Enum):
                ONE = 1
            class Box:
                def __init__(self, n): self.n = n
            def helper(n): return n + 1
            def work(n, kind=Kind.ONE): return helper(n), kind is Kind.ONE, Box(n)
            def child(queue):
                with made(work) as cluster:
                    job = cluster.submit(5, Kind.ONE)
                    assert job.wait(15), cluster.status().problems
                    queue.put((job.result[:2], type(job.result[2]) is Box))
            if __name__ == "__main__":
                context = multiprocessing.get_context("{how}")
                queue = context.Queue()
                process = context.Process(target=child, args=(queue,))
                process.start()
                print(queue.get(timeout=40))
                process.join(20)
            """
    }
    assert lines(run(files)) == ["((6, True), True)"]


# By value and by name


def test_what_is_installed_goes_by_name_and_what_is_the_programs_own_by_value(run: Run) -> None:
    """A global that the program has set in a module of Python is seen by a job only where that goes by value."""
    files = {
        "main.py": """
            import colorsys
            colorsys.ONE_THIRD = 0.0
            def work(): return colorsys.hls_to_rgb(0.0, 0.5, 1.0)
            if __name__ == "__main__":
                print(work())
                told(colorsys.hls_to_rgb, 0.0, 0.5, 1.0)
                told(colorsys.hls_to_rgb, 0.0, 0.5, 1.0, by_value=[colorsys])
                told(work, by_value=[colorsys])
            """
    }
    assert lines(run(files)) == ["(0.0, 0.0, 0.0)", "(1.0, 0.0, 0.0)", "(0.0, 0.0, 0.0)", "(0.0, 0.0, 0.0)"]


def test_a_module_by_name_that_nodes_lack_is_named_with_the_python_that_lacks_it(run: Run) -> None:
    files = {
        "only_here.py": "def work(n): return n\n",
        "main.py": """
            import only_here
            if __name__ == "__main__":
                with made(only_here.work, by_name=[only_here]) as cluster:
                    job = cluster.submit(1)
                    print(job.wait(30), job.status == job.Finished)
                    print("No module named 'only_here'" in job.exception, sys.executable in job.exception)
                cluster = made(only_here.work, by_name=[only_here], wait_for_nodes=True)
                job = cluster.submit(1)
                print(job.wait(3), any("only_here" in each for each in cluster.status().problems))
                cluster.close(timeout=0, terminate=True)
            """,
    }
    done = run(files)
    assert done.stdout.splitlines() == ["True False", "True True", "False True"], done.stderr


# What is said


def test_what_travels_is_summed_up_at_debug_and_the_largest_named_where_it_is_much(run: Run) -> None:
    files = {
        "own.py": "def helper(n): return n\n",
        "main.py": """
            import own
            TABLE = os.urandom(12_000_000)
            SMALL = b"small"
            def large(n): return own.helper(n), len(TABLE), SMALL
            def little(n): return own.helper(n), SMALL
            if __name__ == "__main__":
                if sys.argv[1] == "little": told(little, 1, loglevel=10)
                else: told(large, 1)
            """,
    }
    done = run(files, "main.py", "large")
    assert lines(done) == ["(1, 12000000, b'small')"]
    warnings = [line for line in done.stderr.splitlines() if "TABLE" in line]
    assert len(warnings) == 1 and "12" in warnings[0] and "MB" in warnings[0] and "SMALL" not in warnings[0]
    done = run(files, "main.py", "little")
    assert lines(done) == ["(1, b'small')"]
    assert any("little" in line and "helper" in line for line in done.stderr.splitlines())


def test_a_result_that_cannot_be_unpickled_ends_its_job_once(run: Run) -> None:
    files = {
        "main.py": """
            class AppError(Exception):
                def __init__(self, code, why): super().__init__(f"{code}: {why}")
            def work(n): return AppError(n, "why")
            def noted(job): print("callback", job.status == job.Terminated, job.result, "AppError" in job.exception)
            if __name__ == "__main__":
                with made(work, callback=noted) as cluster:
                    job = cluster.submit(1)
                    cluster.wait()
                    before = job.status
                    is_ended = before == job.Terminated
                    print("program", is_ended, job.result, job.status == before, "AppError" in job.exception)
            """
    }
    assert sorted(lines(run(files))) == ["callback True None True", "program True None True True"]


def test_packages_that_are_used_as_a_whole_have_the_modules_that_the_program_has_imported(run: Run) -> None:
    files = {
        "pk/__init__.py": "",
        "pk/other.py": "def h(): return 7\n",
        "pk/m.py": "def q(n): return n + 1\n",
        "pk/lazy.py": "from pk.m import q\ndef twice(n): return q(q(n))\n",
        "pk/deep/__init__.py": "",
        "pk/deep/mod.py": "def d(): return 'deep'\n",
        "main.py": """
            import pk.other, pk.m, pk.deep.mod
            def whole(): return pk is None, pk.other.h(), pk.deep.mod.d()
            def lazily(n):
                import pk.lazy
                return pk.m.q(n), pk.lazy.twice(n)
            if __name__ == "__main__":
                told(whole)
                told(lazily, 1)
            """,
    }
    assert lines(run(files)) == ["(False, 7, 'deep')", "(2, 3)"]


def test_data_are_found_beside_functions_that_came_by_value(run: Run) -> None:
    files = {
        "pack/__init__.py": "raise_if_run = print('run')\n",
        "pack/part.py": """
            import importlib.resources, os, pkgutil
            def work():
                beside = os.path.join(os.path.dirname(__file__), "t", "a.txt")
                with open(beside) as file: by_path = file.read()
                found = importlib.resources.files(__package__).joinpath("t/a.txt").read_text()
                return by_path, found, pkgutil.get_data(__name__, "t/a.txt")
            """,
        "pack/t/a.txt": "data",
        "main.py": """
            import pack.part
            if __name__ == "__main__": told(pack.part.work, data=["t/*.txt"])
            """,
    }
    assert lines(run(files)) == ["run", "('data', 'data', b'data')"]


def test_a_class_that_is_defined_anew_takes_no_place_of_the_former_one(run: Run) -> None:
    files = {
        "main.py": """
            class A: v = 1
            def h(a): return A.v, getattr(a, "v", None), type(a) is A
            if __name__ == "__main__":
                with made(h) as cluster:
                    first = A()
                    class A: v = 2
                    for each in (A(), 3, first, A()): print(cluster.submit(each)())
            """,
    }
    assert lines(run(files)) == ["(1, 2, False)", "(1, None, False)", "(1, 1, True)", "(1, 2, False)"]


def test_modules_that_go_as_files_have_what_the_program_has_set_in_them(run: Run) -> None:
    files = {
        "own.py": """
            import os
            LEVEL = 1
            CONF = {"a": 1}
            REGISTRY = {}
            settings = None
            PLACE = os.path.dirname(os.path.abspath(__file__))
            def load(**values):
                global settings
                settings = values
            def register(name): return lambda cls: REGISTRY.setdefault(name, cls)
            def get(): return LEVEL, CONF, settings
            class Animal:
                kinds, sound = {}, "none"
                def __init_subclass__(cls): Animal.kinds[cls.__name__] = cls
            def replaced(): return "original"
            """,
        "other.py": "import own\ndef ask(): return own.get()\n",
        "main.py": """
            import os, own
            own.LEVEL = 9
            own.ADDED = (1, 2)
            own.CONF["a"] = 2
            own.load(k=5)
            @own.register("foo")
            class Foo:
                def go(self): return "foo"
            class Cow(own.Animal): pass
            own.Animal.sound = "moo"
            own.replaced = lambda: "replaced"
            def by_other():
                import other
                return own.LEVEL, own.ADDED, other.ask()
            def by_class():
                import own as inside
                cow = inside.Animal.kinds["Cow"]
                return inside.Animal.sound, sorted(inside.Animal.kinds), Cow is cow, inside.replaced()
            def by_itself():
                import own as inside
                is_here = os.path.samefile(inside.PLACE, os.getcwd())
                return inside.get(), inside.REGISTRY["foo"]().go(), isinstance(inside.REGISTRY["foo"](), Foo), is_here
            if __name__ == "__main__":
                told(by_other)
                told(by_itself)
                told(by_class)
            """,
    }
    assert lines(run(files)) == [
        "(9, (1, 2), (9, {'a': 2}, {'k': 5}))",
        "((9, {'a': 2}, {'k': 5}), 'foo', True, True)",
        "('moo', ['Cow'], True, 'replaced')",
    ]


def test_what_is_imported_from_a_module_is_what_that_module_has(run: Run) -> None:
    files = {
        "deco.py": """
            CALLS = {}
            def counted(function):
                def wrapper(*args):
                    CALLS[function.__name__] = CALLS.get(function.__name__, 0) + 1
                    return function(*args)
                return wrapper
            """,
        "main.py": """
            from deco import CALLS, counted
            CALLS["before"] = 7
            @counted
            def square(n): return n * n
            def work(n):
                import deco
                return square(n), CALLS is deco.CALLS, deco.CALLS
            if __name__ == "__main__": told(work, 3)
            """,
    }
    assert lines(run(files)) == ["(9, True, {'before': 7, 'square': 1})"]
