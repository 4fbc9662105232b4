"""Users that are not root: their mounts and clusters, and what stands in their way.

All of it is done as it is typed in a shell, by nobody, by a user without a name, and by root.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.support.patience import wait_until
from tests.support.users import ANOTHER, PROGRAMS, ROOT, USER, Machine

SCRIPTS = ROOT / "scripts"
OWNER = "nobody"
BLOCK_OF_THE_SAMPLE = "ed13de81c7f146cf46333d79a3da3ce5"
SAMPLE = "home/Sample project/Primes/primes-below-2^24.u32le"
IN_TIME_S = 20


@pytest.fixture(scope="module")
def shared_machine(tmp_path_factory):
    place = tmp_path_factory.mktemp("machine")
    place.chmod(0o755)
    with Machine(place) as machine:
        yield machine


@pytest.fixture(scope="module")
def cluster(shared_machine):
    """A cluster that the user runs. Returns what its users need in their environment."""
    machine = shared_machine
    running = machine.start(USER, "exec arv-standalone ~/cluster --sample")
    line = running.stdout.readline()
    assert "is ready" in line, line
    settings = (machine.home(USER) / "cluster" / "env.sh").read_text()
    yield dict(re.findall(r"^export (\w+)=(\S+)$", settings, re.MULTILINE))
    machine.run(USER, f"kill {running.pid}")
    assert running.wait(IN_TIME_S) == 0
    running.stdout.close()


@pytest.fixture
def machine(shared_machine):
    """The machine, with an empty directory ~/m, on which nothing is mounted in the end."""
    home = shared_machine.home(USER)
    shared_machine.run(USER, "mkdir ~/m")
    yield shared_machine
    shared_machine.configure_fuse("")
    shared_machine.run(0, 'arv-mount --unmount "$1" && rmdir "$1"', home / "m")
    shared_machine.run(0, 'cd "$1" && rm -rf .cache .local other', home)


@pytest.fixture
def mounted(machine, cluster):
    """Mount ~/m in the background with `mounted(option, ...)`; returns where, and what is said."""

    def mount(*options, user=USER, **variables):
        place = machine.home(USER) / "m"
        said = machine.run(user, 'arv-mount "$@"', *options, place, **cluster, **variables)
        return place, said

    return mount


@pytest.fixture
def refused(machine, cluster):
    """Try to mount with `refused(option, ...)`; returns the line of `arv-mount` that says why."""

    def mount(*options, user=USER, on=None, **variables):
        place = on or machine.home(USER) / "m"
        said = machine.run(user, 'arv-mount "$@"', *options, place, code=1, **(cluster | variables))
        ours = [line for line in said.splitlines() if not line.startswith(("fuse:", "fusermount:"))]
        assert len(ours) == 1, said
        return ours[0].removeprefix("arv-mount: ")

    return mount


@pytest.fixture
def of_root(machine):
    """Make a directory of root with `of_root(mode)`."""
    made = []

    def make(mode):
        directory = machine.place / f"of-root-{time.monotonic_ns()}"
        directory.mkdir()
        directory.chmod(mode)
        made.append(directory)
        return directory

    return make


def journals(machine) -> list[Path]:
    found = machine.home(USER) / ".local/state/arvados/journal"
    return sorted(found.iterdir()) if found.exists() else []


class TestMounting:
    def test_what_make_mount_runs_works_and_comes_back(self, machine):
        """The README's first command, in an empty home, and again with what it has left there."""
        for count in (1, 2):
            said = machine.run(
                USER, '"$1"/mount-standalone "$(command -v arv-mount)" ~/m ~/other', SCRIPTS
            )
            assert "An Arvados cluster of your own is mounted on" in said
            said = machine.run(
                USER,
                'cd ~/m/home && mkdir "mine $1" && echo content >"mine $1/file"'
                ' && cat "mine 1/file" "mine $1/.arvados#commit"',
                str(count),
            )
            assert said.startswith("content\n")
            assert '"file_count": 1' in said
            said = machine.run(USER, '"$1"/unmount-standalone ~/m ~/other', SCRIPTS)
            assert "Unmounted" in said
            assert "has ended" in said

    @pytest.mark.parametrize("umask", ["000", "077"])
    def test_what_is_kept_is_for_the_user_alone_whatever_the_umask(self, machine, umask):
        machine.run(USER, 'umask "$1"; arv-mount --standalone --read-write ~/m', umask)
        machine.run(USER, f"cd ~/m/home && mkdir new && echo x >new/file && md5sum ~/m/'{SAMPLE}'")

        def kept() -> list[str]:
            # What find has seen may have got another name meanwhile.
            found = machine.run(USER, "find ~/.local ~/.cache -printf '%m %u %p\\n' || true")
            return found.splitlines()

        # A block gets into the cache after it was read.
        wait_until(lambda: any(".keepcacheblock" in line for line in kept()))
        assert any("/journal/" in line for line in kept())
        assert [line for line in kept() if not re.match(rf"[67]00 {OWNER} ", line)] == []

    def test_a_command_has_the_umask_and_the_exit_code_that_it_has_without_a_mount(
        self, machine, cluster
    ):
        script = "umask 027; arv-mount ~/m --exec sh -c 'umask; id -u; exit 7'"
        said = machine.run(USER, script, code=7, **cluster)
        assert f"0027\n{USER}\n" in said

    def test_what_is_mounted_without_leave_to_write_cannot_be_changed(self, machine, mounted):
        place, _ = mounted()
        assert "Read-only file system" in machine.run(USER, 'mkdir "$1/home/x"', place, code=1)

    def test_a_mount_that_was_killed_is_cleared_and_what_it_had_written_is_saved(
        self, machine, cluster, mounted
    ):
        said = machine.run(
            USER,
            "arv-mount --foreground --read-write --commit-delay 60 ~/m & mount=$!;"
            " until mkdir ~/m/home/killed; do sleep 0.1; done;"
            " cd ~/m/home/killed; echo 1 >one; echo 2 >two; echo 3 >three; cd;"
            " kill -9 $mount; wait $mount; ls ~/m; arv-mount --recover",
            **cluster,
        )
        assert "not connected" in said or "connection abort" in said
        assert re.search(r"^  \w{5}-4zz18-\w{15}: \d changes, \d B written$", said, re.MULTILINE)
        place, said = mounted("--read-write")
        assert "Cleared the dead mount" in said
        assert machine.run(USER, 'cat "$1"/home/killed/*', place).split() == ["1", "3", "2"]

    def test_it_finds_the_program_that_mounts_wherever_programs_are(self, machine, cluster):
        only_ours = PROGRAMS.partition(":")[0]
        script = (
            "arv-mount ~/m && arv-mount --replace ~/m && arv-mount --unmount ~/m"
            " && arv-mount ~/m --exec /bin/cat ~/m/README"
        )
        assert "This is an Arvados cluster" in machine.run(USER, script, **cluster, PATH=only_ours)

    def test_files_are_where_the_variables_of_xdg_say(self, machine):
        below = machine.home(USER) / "other"
        variables = {f"XDG_{kind}_HOME": below / kind for kind in ("DATA", "CACHE", "STATE")}
        machine.run(
            USER,
            f"arv-mount --standalone --read-write ~/m && cat ~/m/'{SAMPLE}' >~/other/x",
            **variables,
        )
        assert {each.name for each in below.iterdir()} == {"DATA", "CACHE", "STATE", "x"}
        assert list(machine.home(USER).glob(".local/*")) == []

    def test_of_two_at_once_one_mounts_and_the_other_says_why_not(self, machine, cluster):
        """Now and then the kernel mounts both, one over the other, and unmounting ends both."""
        said = machine.run(
            USER,
            "arv-mount ~/m & first=$!; arv-mount ~/m & wait $first; one=$?; wait $!; echo $one $?",
            **cluster,
        )
        *lines, codes = said.splitlines()
        assert "0" in codes.split()
        why = [line for line in lines if line.startswith("arv-mount: ")]
        place = machine.home(USER) / "m"
        assert len(why) == codes.split().count("1")
        reasons = (
            f"arv-mount: Somebody else has just mounted something on {place}.",
            f"arv-mount: {place} is already a mount point",
        )
        assert [line for line in why if not line.startswith(reasons)] == []

    def test_a_hanging_mount_is_ended_by_its_user(self, machine, cluster):
        """The kernel's control files of a mount belong to who has mounted it."""
        machine.run(0, "mount -t fusectl none /sys/fs/fuse/connections")
        said = machine.run(
            USER,
            "arv-mount --foreground ~/m & mount=$!; until [ -e ~/m/README ]; do sleep 0.1; done;"
            " kill -STOP $mount; ls ~/m/home & waiting=$!; sleep 0.2;"
            " arv-mount --unmount --unmount-timeout 0.3 ~/m; wait $waiting; echo ls: $?;"
            " kill -CONT $mount; wait $mount",
            **cluster,
        )
        assert "ls: 2" in said
        machine.run(0, "umount /sys/fs/fuse/connections")


class TestRefusing:
    def test_allow_other_needs_leave_and_nothing_is_left_of_the_try(self, machine, refused):
        line = refused("--read-write", "--allow-other")
        assert line == "FUSE refused --allow-other: /etc/fuse.conf needs the line user_allow_other."
        assert journals(machine) == []

    def test_a_place_that_the_user_cannot_write_to(self, refused, of_root):
        place = of_root(0o755)
        assert refused(on=place) == f"You may not mount on {place}: you cannot write to it."

    def test_a_sticky_place_of_another(self, refused, of_root):
        place = of_root(0o1777)
        assert f"You may not mount on {place}: it is sticky" in refused(on=place)

    def test_a_place_that_the_user_cannot_see(self, refused, of_root):
        place = of_root(0o700)
        assert refused(on=place) == f"The mount point {place} cannot be read: Permission denied."

    def test_a_user_that_the_machine_does_not_know(self, machine, refused):
        machine.run(ANOTHER, "mkdir -p m")
        line = refused(user=ANOTHER, on=machine.home(ANOTHER) / "m")
        assert line == (
            f"FUSE mounts only for users that the machine knows: the number {ANOTHER} has no line"
            " in /etc/passwd."
        )

    def test_a_user_without_a_home_gets_no_traceback_and_can_unmount(self, machine, refused):
        said = machine.run(ANOTHER, "arv-mount --unmount /tmp && arv-mount --recover", HOME=None)
        assert said == "There are no journals in /.local/state/arvados/journal.\n"
        machine.run(ANOTHER, "mkdir -p m")
        place = machine.home(ANOTHER) / "m"
        line = refused("--read-write", user=ANOTHER, on=place, HOME=None)
        assert line == (
            "The journal cannot be in /.local/state/arvados/journal: Permission denied (/ belongs"
            " to root). Choose another place with --journal-dir."
        )

    def test_a_home_that_cannot_be_written_to(self, machine, mounted, refused, of_root):
        home = of_root(0o755)
        theirs = f"Permission denied ({home} belongs to root)."
        assert theirs in refused("--read-write", HOME=home)
        assert theirs in refused(HOME=home)
        assert theirs in refused("--standalone", HOME=home)
        assert mounted("--ram-cache", HOME=home)[1] == ""
        assert BLOCK_OF_THE_SAMPLE in machine.run(USER, f"md5sum ~/m/'{SAMPLE}'")

    @pytest.mark.parametrize("mode", [0o700, 0o755])
    def test_directories_of_root(self, machine, refused, of_root, mode):
        theirs = of_root(mode)
        whose = f"Permission denied ({theirs} belongs to root)."
        assert whose in refused("--disk-cache-dir", theirs)
        assert whose in refused("--read-write", "--journal-dir", theirs / "below")
        assert f"Cannot write to the log file {theirs}/log: {whose}" in refused(
            "--logfile", theirs / "log"
        )
        line = refused("--standalone", "--standalone-dir", theirs)
        assert "cannot use" in line
        assert "--standalone-dir" in line
        said = machine.run(USER, 'arv-standalone "$1"', theirs, code=1)
        assert said.startswith(f"arv-standalone: cannot use {theirs}: ")
        assert list(theirs.iterdir()) == []

    def test_a_cluster_is_its_owners_even_if_all_could_write_to_it(self, machine, of_root):
        theirs = of_root(0o777)
        said = machine.run(USER, 'arv-standalone "$1"', theirs, code=1)
        assert said == (
            f"arv-standalone: cannot use {theirs}: it belongs to another user (number 0), who"
            " alone can run a cluster on it\n"
        )

    def test_root_cannot_leave_blocks_in_a_cluster_that_its_owner_could_not_read(
        self, machine, cluster
    ):
        theirs = machine.home(USER) / "cluster"
        mount = 'mkdir -p m; arv-mount --standalone --standalone-dir "$1" m'
        for script in ('arv-standalone "$1"', 'arv-standalone "$1" gc --delete', mount):
            said = machine.run(0, script, theirs, code=1)
            assert f"cannot use {theirs}: it belongs to another user (number {USER})" in said
        assert machine.run(0, 'find "$1" -user root', theirs) == ""


class TestWhatRootHasLeft:
    """As who once used sudo finds it."""

    def test_a_journal_stops_no_mount_and_is_saved_when_it_is_the_users(
        self, machine, cluster, mounted
    ):
        machine.run(USER, "mkdir -p ~/.local/state/arvados/journal")
        directory = machine.home(USER) / ".local/state/arvados/journal"
        machine.run(
            0,
            'mkdir m; arv-mount --foreground --read-write --commit-delay 60 --journal-dir "$1" m &'
            " until mkdir m/home/by-root; do sleep 0.1; done;"
            " cd m/home/by-root; echo 1 >one; echo 2 >two; echo 3 >three; cd ~;"
            " kill -9 $!; wait $!; arv-mount --unmount m; rmdir m",
            directory,
            **cluster,
        )
        (left,) = directory.iterdir()
        assert machine.run(USER, "arv-mount --recover") == (
            f"{left.name}\n  cannot be looked into: Permission denied; it belongs to root\n"
        )
        said = machine.run(USER, 'arv-mount --recover discard "$1"', left.name, code=1)
        assert said.endswith(f"Permission denied ({left} belongs to root).\n")
        place, said = mounted("--read-write")
        assert f"The journal {left} is left alone: it belongs to another user" in said
        assert "two" not in machine.run(USER, 'ls "$1/home/by-root"', place).split()
        machine.run(0, 'arv-mount --unmount "$1"; chown -R "$2" "$3"', place, str(USER), left)
        mounted("--read-write")
        assert machine.run(USER, 'cat "$1"/home/by-root/*', place).split() == ["1", "3", "2"]

    def test_blocks_in_the_cache_are_fetched_again(self, machine, mounted):
        cache = machine.home(USER) / ".cache/arvados/keep"
        place, _ = mounted(user=0, HOME=machine.home(USER))
        machine.run(0, f'md5sum "$1"/\'{SAMPLE}\'; arv-mount --unmount "$1"', place)
        (subdirectory,) = cache.iterdir()
        machine.run(0, 'chown "$1" ~ "$2" "$2/.." "$2/../.."', str(USER), cache)
        assert subdirectory.stat().st_uid == 0
        log = machine.home(USER) / "other"
        mounted("--logfile", log)
        assert BLOCK_OF_THE_SAMPLE in machine.run(USER, f"md5sum \"$1\"/'{SAMPLE}'", place)
        assert "the disk cache cannot be used now, blocks stay in RAM" in log.read_text()


class TestOtherUsers:
    @pytest.mark.parametrize("other", [0, ANOTHER], ids=["root", "another"])
    def test_without_allow_other_even_root_is_kept_out(self, machine, mounted, other):
        place, _ = mounted("--read-write")
        for command in ('ls "$1"', 'stat "$1"', 'cat "$1/README"', 'mkdir "$1/home/x"'):
            said = machine.run(other, f"{command}; true", place)
            assert "Permission denied" in said, command

    def test_without_allow_other_only_its_user_and_root_can_unmount(self, machine, mounted):
        place, _ = mounted()
        for options in ("--unmount", "--unmount-all", "--replace", ""):
            said = machine.run(ANOTHER, f'arv-mount {options} "$1"', place, code=1)
            assert f"It was mounted by {OWNER}; only they and root can unmount it." in said
        machine.run(0, 'arv-mount --unmount "$1" && [ -z "$(ls "$1")" ]', place)

    @pytest.mark.parametrize("other", [0, ANOTHER], ids=["root", "another"])
    def test_with_allow_other_all_can_read_and_write_and_what_they_make_is_theirs(
        self, machine, mounted, other
    ):
        machine.configure_fuse("user_allow_other\n")
        place, _ = mounted("--read-write", "--allow-other")
        name = f"by-{other}"
        machine.run(USER, 'mkdir "$1/home/$2" && echo shared >"$1/home/$2/file"', place, name)
        said = machine.run(
            other,
            'cd "$1/home/$2" && cat file && echo more >>file && echo new >new && mkdir sub'
            ' && mv new sub/moved && chmod 640 sub/moved && stat -c "%n %u %a" file sub sub/moved'
            ' && cat ".arvados#commit"',
            place,
            name,
        )
        assert said.splitlines()[:4] == [
            "shared",
            f"file {USER} 777",
            f"sub {other} 777",
            f"sub/moved {other} 640",
        ]
        assert '"file_count": 2' in said
        assert machine.run(USER, 'cat "$1/home/$2/file"', place, name) == "shared\nmore\n"

    def test_with_allow_other_a_mode_that_was_set_keeps_others_out(self, machine, mounted):
        machine.configure_fuse("user_allow_other\n")
        place, _ = mounted("--read-write", "--allow-other")
        machine.run(
            USER,
            'cd "$1/home" && mkdir mine && cd mine && echo x >file && mkdir dir && echo y >dir/file'
            " && chmod 600 file && chmod 700 dir",
            place,
        )
        refused = ("cat file", "echo z >>file", "ls dir", "cat dir/file", "chmod 777 file")
        for command in (*refused, "chown 0 file", "touch -d 2020-01-01 file"):
            said = machine.run(ANOTHER, f'cd "$1/home/mine"; {command}; true', place)
            assert "ermission denied" in said or "not permitted" in said, command
        assert machine.run(0, 'cat "$1"/home/mine/file "$1"/home/mine/dir/file', place) == "x\ny\n"

    def test_with_allow_other_what_cannot_be_changed_is_refused_to_them_too(self, machine, mounted):
        machine.configure_fuse("user_allow_other\n")
        place, _ = mounted("--allow-other")
        assert BLOCK_OF_THE_SAMPLE in machine.run(ANOTHER, f"md5sum \"$1\"/'{SAMPLE}'", place)
        for other in (0, ANOTHER):
            said = machine.run(other, 'mkdir "$1/home/x"', place, code=1)
            assert "Read-only file system" in said
