"""A FUSE daemon that shows an empty directory, to be killed. Run with the mount point."""

import sys

import llfuse


class Empty(llfuse.Operations):
    def statfs(self, ctx):
        return llfuse.StatvfsData()

    def getattr(self, inode, ctx):
        attributes = llfuse.EntryAttributes()
        attributes.st_ino = inode
        attributes.st_mode = 0o40555
        return attributes

    def opendir(self, inode, ctx):
        return 1

    def readdir(self, fh, off):
        return iter(())


if __name__ == "__main__":
    llfuse.init(Empty(), sys.argv[1], {*llfuse.default_options, "fsname=arvados:test.example"})
    print("ready", flush=True)
    llfuse.main(workers=1)
    llfuse.close()
