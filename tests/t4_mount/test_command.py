"""`arv-mount` as its users type it: what it prints, when it returns, and how it ends."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import ClassVar

import pytest

from tests.support.contents import create
from tests.support.mounts import ARV_MOUNT, RunningMount, is_mounted

ROOT_OF_ALL = ["README", "by_id", "by_tag", "home", "shared"]


def arv_mount(*arguments: object, env) -> subprocess.CompletedProcess:
    return subprocess.run(
        [ARV_MOUNT, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def directory(tmp_path):
    """An empty directory; whatever gets mounted there is unmounted."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    if is_mounted(path):
        subprocess.run(["fusermount", "-u", "-z", path], check=True)


@contextmanager
def suspended(running):
    """Let the daemon of a mount hang for a while; then it goes on, and ends."""
    running.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        running.process.send_signal(signal.SIGCONT)
        running.process.wait(20)
        running.close()


@contextmanager
def running_in(directory):
    """A program whose working directory is `directory`."""
    with subprocess.Popen(["sleep", "60"], cwd=directory) as program:
        yield
        program.kill()


def assert_fails(done, code, *words):
    """One line on standard error that holds all the words, nothing else, and the exit code."""
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


class TestBackground:
    def test_returns_when_the_mount_works(self, directory, env):
        done = arv_mount(directory, env=env)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert "home" in os.listdir(directory)

    def test_ends_when_it_is_unmounted(self, directory, env, tmp_path):
        log = tmp_path / "log"
        arv_mount("--logfile", log, directory, env=env)
        subprocess.run(["fusermount", "-u", directory], check=True)
        assert os.listdir(directory) == []
        process = int(log.read_text().split("arv-mount[")[1].split("]")[0])
        deadline = time.monotonic() + 20
        while os.path.exists(f"/proc/{process}"):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def test_failure_is_told_before_it_returns(self, directory, env):
        done = arv_mount(directory, env={**env, "ARVADOS_API_TOKEN": "wrong"})
        assert_fails(done, 1, "401", "ARVADOS_API_TOKEN")
        assert not is_mounted(directory)


class TestForeground:
    def test_ends_with_0_when_unmounted(self, mount):
        assert mount().unmount() == 0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal_unmounts(self, mount, number):
        running = mount()
        running.process.send_signal(number)
        assert running.process.wait(20) == 0
        assert not is_mounted(running.directory)

    def test_mount_table_shows_cluster_and_read_only(self, mount, env):
        running = mount()
        line = next(x for x in open("/proc/mounts") if str(running.directory) in x)
        assert line.startswith(f"arvados:{env['ARVADOS_API_HOST']} ")
        assert "ro," in line


class TestBadSettings:
    def test_no_settings(self, directory, env):
        for name in ("ARVADOS_API_HOST", "ARVADOS_API_TOKEN"):
            env.pop(name)
        done = arv_mount(directory, env=env)
        said = "ARVADOS_API_HOST and ARVADOS_API_TOKEN not set. Set them in the environment or in"
        assert_fails(done, 1, said, "--standalone")

    @pytest.mark.parametrize("name", ["ARVADOS_API_HOST", "ARVADOS_API_TOKEN"])
    def test_one_setting_is_missing(self, directory, env, name):
        env.pop(name)
        done = arv_mount(directory, env=env)
        assert_fails(done, 1, f"{name} not set. Set it in the environment or in", "--standalone")

    def test_settings_file_is_read(self, directory, env):
        config = f"{env['HOME']}/.config/arvados"
        os.makedirs(config)
        with open(f"{config}/settings.conf", "w") as file:
            for name in [name for name in env if name.startswith("ARVADOS_")]:
                file.write(f"{name}={env.pop(name)}\n")
        done = arv_mount(directory, env=env)
        assert done.returncode == 0, done

    def test_nonsense_in_the_settings_file(self, directory, env):
        config = f"{env['HOME']}/.config/arvados"
        os.makedirs(config)
        with open(f"{config}/settings.conf", "w") as file:
            file.write("this is no setting\n")
        assert_fails(arv_mount(directory, env=env), 1, "settings.conf", "number 1", "NAME=VALUE")

    def test_settings_file_that_cannot_be_read(self, directory, env):
        """The client library takes it for none, or fails in a way of its own."""
        host, token = (env.pop(name) for name in ("ARVADOS_API_HOST", "ARVADOS_API_TOKEN"))
        path = f"{env['HOME']}/.config/arvados/settings.conf"
        os.makedirs(path)
        assert_fails(arv_mount(directory, env=env), 1, path, "Is a directory")
        os.rmdir(path)
        with open(path, "w", encoding="latin-1") as file:
            file.write(f"# für mich\nARVADOS_API_HOST={host}\nARVADOS_API_TOKEN={token}\n")
        assert_fails(arv_mount(directory, env=env), 1, path, "is not text in utf-8")
        env["XDG_CONFIG_HOME"] = "/" + "x" * 256
        assert_fails(arv_mount(directory, env=env), 1, "settings.conf", "File name too long")

    def test_unreachable_host(self, directory, env):
        done = arv_mount(directory, env={**env, "ARVADOS_API_HOST": "127.0.0.1:1"})
        assert_fails(done, 1, "Cannot reach", "127.0.0.1:1", "refused")

    def test_unknown_host(self, directory, env):
        done = arv_mount(directory, env={**env, "ARVADOS_API_HOST": "no-such-host.invalid"})
        assert_fails(done, 1, "Cannot reach", "no-such-host.invalid")

    def test_host_that_is_no_cluster(self, directory, env, cluster):
        keep_port = cluster.api().keep_services().accessible().execute()["items"][0]["service_port"]
        done = arv_mount(directory, env={**env, "ARVADOS_API_HOST": f"127.0.0.1:{keep_port}"})
        assert_fails(done, 1, f"127.0.0.1:{keep_port}")

    def test_certificate_that_is_not_trusted(self, directory, env):
        env.pop("ARVADOS_API_HOST_INSECURE")
        done = arv_mount(directory, env=env)
        assert_fails(done, 1, "certificate", "ARVADOS_API_HOST_INSECURE")

    def test_token_is_never_printed(self, directory, env):
        env["ARVADOS_API_TOKEN"] = "v2/zzzzz-gj3su-000000000000000/secretsecretsecretsecret"
        assert "secretsecret" not in arv_mount("--debug", directory, env=env).stderr

    def test_object_that_is_not_there(self, directory, env):
        for option, uuid in [
            ("--collection", "zzzzz-4zz18-000000000000000"),
            ("--collection", "0123456789abcdef0123456789abcdef+9"),
            ("--project", "zzzzz-j7d0g-000000000000000"),
        ]:
            done = arv_mount(option, uuid, directory, env=env)
            assert_fails(done, 1, "There is no", uuid)


class TestMountPoint:
    def test_missing(self, tmp_path, env):
        assert_fails(arv_mount(tmp_path / "none", env=env), 1, "does not exist", "mkdir -p")

    def test_file(self, tmp_path, env):
        (tmp_path / "file").write_text("")
        assert_fails(arv_mount(tmp_path / "file", env=env), 1, "not a directory")

    def test_not_empty(self, directory, env):
        (directory / "precious").write_text("data")
        assert_fails(arv_mount(directory, env=env), 1, "not empty", "'precious'")

    def test_mounted_already(self, mount, env):
        running = mount()
        done = arv_mount(running.directory, env=env)
        assert_fails(done, 1, "already a mount point", "fusermount -u")

    def test_dead_mount_is_named_and_cleared(self, mount, env, directory):
        running = RunningMount(directory, env=env)
        running.kill()
        with pytest.raises(OSError, match="not connected"):
            os.listdir(directory)
        with RunningMount(directory, env=env) as again:
            again.expected_log.append("Cleared the dead mount of arvados:.* on")
            assert "home" in os.listdir(directory)
            assert "Cleared the dead mount" in again.log


class TestUnmount:
    """Needs no cluster: the environment is empty, but for the path of fusermount."""

    ENV: ClassVar = {"PATH": os.environ["PATH"]}

    def test_unmounts_and_the_process_ends(self, mount):
        running = mount()
        done = arv_mount("--unmount", running.directory, env=self.ENV)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert not is_mounted(running.directory)
        assert running.process.wait(20) == 0

    @pytest.mark.parametrize("option", ["--unmount", "--unmount-all"])
    def test_nothing_mounted_is_fine(self, tmp_path, option):
        for directory in (tmp_path, tmp_path / "none"):
            done = arv_mount(option, directory, env=self.ENV)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_dead_mount(self, directory, env):
        RunningMount(directory, env=env).kill()
        assert arv_mount("--unmount", directory, env=self.ENV).returncode == 0
        directory.rmdir()

    def test_hung_mount_is_not_asked_for_anything(self, directory, env):
        running = RunningMount(directory, env=env)
        with suspended(running):
            link = directory.with_name("link")
            link.symlink_to(directory)
            # A time limit, as the hung daemon would be waited for here.
            done = arv_mount("--unmount-timeout=0.1", "--unmount", link, env=self.ENV)
            assert (done.returncode, done.stderr) == (0, "")
            directory.rmdir()

    def test_busy_mount_goes_at_once(self, mount):
        running = mount()
        with running_in(running.directory):
            done = arv_mount("--unmount-timeout=0.1", "--unmount", running.directory, env=self.ENV)
            assert done.returncode == 0
            assert not is_mounted(running.directory)

    def test_another_subtype_stays(self, mount):
        running = mount("--subtype", "one")
        arv_mount("--unmount", "--subtype", "two", running.directory, env=self.ENV)
        assert is_mounted(running.directory)
        arv_mount("--unmount", "--subtype", "one", running.directory, env=self.ENV)
        assert not is_mounted(running.directory)

    def test_all_that_is_below(self, mount, tmp_path):
        first, second = mount(), mount("--subtype", "one")
        done = arv_mount("--unmount-all", tmp_path, env=self.ENV)
        assert (done.returncode, done.stderr) == (0, "")
        assert not is_mounted(first.directory)
        assert not is_mounted(second.directory)

    def test_all_or_nothing(self, mount, tmp_path):
        first, second = mount("--subtype", "one"), mount()
        done = arv_mount("--unmount-all", "--subtype", "one", tmp_path, env=self.ENV)
        assert_fails(done, 1, str(second.directory), "its type is fuse.")
        assert is_mounted(first.directory)


class TestReplace:
    def test_what_is_mounted_gives_way(self, mount, env):
        before = mount("--home")
        done = arv_mount("--replace", before.directory, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert before.process.wait(20) == 0
        assert "by_id" in os.listdir(before.directory)

    def test_hung_mount_gives_way(self, directory, env):
        with suspended(RunningMount(directory, env=env)):
            done = arv_mount("--replace", "--unmount-timeout=0.1", directory, env=env)
            assert (done.returncode, done.stderr) == (0, "")
            assert "by_id" in os.listdir(directory)

    def test_nothing_there_is_fine(self, directory, env):
        assert arv_mount("--replace", directory, env=env).returncode == 0


def test_subtype_is_in_the_mount_table(mount):
    running = mount("--subtype", "mine")
    line = next(x for x in open("/proc/mounts") if str(running.directory) in x)
    assert line.split()[2] == "fuse.mine"


class TestExec:
    def test_command_sees_the_mount_and_gives_the_exit_code(self, directory, env):
        done = arv_mount(directory, "--exec", "ls", directory, env=env)
        assert (done.returncode, done.stdout.split()) == (0, ROOT_OF_ALL)
        assert not is_mounted(directory)
        assert arv_mount(directory, "--exec", "sh", "-c", "exit 7", env=env).returncode == 7

    def test_command_runs_in_the_directory_of_the_caller(self, directory, env):
        assert arv_mount(directory, "--exec", "pwd", env=env).stdout.strip() == os.getcwd()

    def test_death_by_signal(self, directory, env):
        done = arv_mount(directory, "--exec", "sh", "-c", "kill -KILL $$", env=env)
        assert done.returncode == 256 - signal.SIGKILL
        assert not is_mounted(directory)

    def test_command_that_does_not_exist(self, directory, env):
        done = arv_mount(directory, "--exec", "no-such-command", env=env)
        assert done.returncode == 2
        assert "cannot run no-such-command" in done.stderr
        assert not is_mounted(directory)

    def test_signals_are_passed_on(self, directory, env, tmp_path):
        started = tmp_path / "started"
        script = f"trap 'exit 9' TERM; touch {started}; while :; do sleep 0.05; done"
        process = subprocess.Popen([ARV_MOUNT, directory, "--exec", "sh", "-c", script], env=env)
        deadline = time.monotonic() + 30
        while not started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.terminate()
        assert process.wait(20) == 9
        assert not is_mounted(directory)


class TestStandalone:
    def start(self, directory, data, env):
        directory.mkdir(exist_ok=True)
        env = {k: v for k, v in env.items() if not k.startswith("ARVADOS_")}
        done = arv_mount("--standalone", "--standalone-dir", data, directory, env=env)
        assert done.returncode == 0, done

    def test_runs_is_joined_and_ends_with_the_last_mount(self, tmp_path, env):
        data, first, second = (tmp_path / name for name in ("data", "first", "second"))
        try:
            self.start(first, data, env)
            self.start(second, data, env)
            subprocess.run(["fusermount", "-u", first], check=True)
            time.sleep(2)
            assert "README" in os.listdir(second)
            readme = second / "home/Sample project/Read me first/README.txt"
            assert readme.read_text()
            subprocess.run(["fusermount", "-u", second], check=True)
            subprocess.run(["flock", "--wait", "15", data / "lock", "true"], check=True)
        finally:
            for directory in (first, second):
                if is_mounted(directory):
                    subprocess.run(["fusermount", "-u", "-z", directory], check=True)

    def test_published_sum_of_the_sample(self, tmp_path, env):
        directory = tmp_path / "mnt"
        try:
            self.start(directory, tmp_path / "data", env)
            done = subprocess.run(
                ["md5sum", "-c", "MD5SUMS"],
                cwd=directory / "home/Sample project/Primes",
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done
        finally:
            subprocess.run(["fusermount", "-u", directory], check=True)


def test_allow_other_lets_another_user_read(mount, cluster):
    record = create(cluster.api(), "for all", {"f": b"shared"})
    root = mount("--allow-other", "--collection", record["uuid"]).directory
    for parent in root.parents:
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", root / "f"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"shared"
