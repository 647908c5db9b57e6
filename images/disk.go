// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"proofhouse/internal/archive"
	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

//go:embed mke2fs.conf
var mke2fsConf string

const (
	diskFile = "disk.ext4"
	// diskRecipe is raised when the same directories make another disk.
	diskRecipe = "2"

	// What a disk may hold.
	maxDisk      = 8 << 30
	maxDiskFiles = 200_000
)

// labelRE is what a disk may be called: ext4 keeps 16 bytes.
var labelRE = regexp.MustCompile(`^[a-z][a-z0-9-]{0,15}$`)

// Disk returns the path of a read-only ext4 image that holds directories: path
// inside -> directory on the host. It is made once for the same names, modes
// and contents, and belongs to root inside where this user may make user
// namespaces. Links that lead out of their directory and what is no file, link
// or directory are left out. A directory that does not exist is exit.BadInput.
// progress may be nil.
func Disk(ctx context.Context, label string, directories map[string]string, progress func(string)) (string, error) {
	if !labelRE.MatchString(label) {
		return "", fmt.Errorf("disk %q: not a label", label)
	}
	for inside := range directories {
		if !filepath.IsLocal(inside) || filepath.Clean(inside) == "." {
			return "", fmt.Errorf("disk %s: %q is not a path in it", label, inside)
		}
	}
	c, err := survey(directories)
	if err != nil {
		return "", fmt.Errorf("disk %s: %w", label, err)
	}
	dir, err := cache.Entry(ctx, room, label+"-"+c.hash[:16], func(ctx context.Context, dir string) error {
		if progress != nil {
			progress(fmt.Sprintf("disk %s: packing %d MB", label, c.bytes/1e6))
		}
		return makeDisk(ctx, dir, label, directories, c)
	})
	if err != nil {
		return "", fmt.Errorf("disk %s: %w", label, err)
	}
	return filepath.Join(dir, diskFile), nil
}

// content is what is in some directories: enough to name it and to make room for it.
type content struct {
	hash  string
	bytes int64 // in whole blocks
	files int64 // inodes, directories too
}

const blockSize = 4096

// survey reads the directories.
func survey(directories map[string]string) (content, error) {
	var c content
	h := sha256.New()
	_, _ = fmt.Fprintln(h, diskRecipe, mke2fsConf)
	for _, inside := range sorted(directories) {
		if st, err := os.Stat(directories[inside]); err != nil {
			return c, exit.BadInput(fmt.Errorf("read the directory: %w", err))
		} else if !st.IsDir() {
			return c, exit.BadInputf("%s is not a directory", directories[inside])
		}
		_, _ = fmt.Fprintf(h, "%q\n", inside)
		if err := c.survey(h, directories[inside]); err != nil {
			return c, fmt.Errorf("read the directory: %w", err)
		}
	}
	c.hash = hex.EncodeToString(h.Sum(nil))
	return c, nil
}

func (c *content) survey(h io.Writer, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		c.files++
		switch {
		case d.IsDir():
			c.bytes += blockSize
			_, err = fmt.Fprintf(h, "%q/\n", name)
			return err
		case d.Type() == fs.ModeSymlink:
			target, err := root.Readlink(name)
			if err != nil {
				return err
			}
			c.bytes += blockSize
			_, err = fmt.Fprintf(h, "%q -> %q\n", name, target)
			return err
		case !d.Type().IsRegular():
			return nil
		}
		f, info, err := archive.Open(root, name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		c.bytes += (info.Size() + blockSize - 1) / blockSize * blockSize
		if _, err := fmt.Fprintf(h, "%q %v %d\n", name, archive.Perm(info.Mode()), info.Size()); err != nil {
			return err
		}
		_, err = io.Copy(h, f)
		return err
	})
}

// makeDisk fills dir, a cache entry in the making.
func makeDisk(ctx context.Context, dir, label string, directories map[string]string, c content) error {
	if err := host.Need("mkfs.ext4"); err != nil {
		return err
	}
	stage := filepath.Join(dir, "stage")
	if err := errors.Join(os.Mkdir(stage, 0o755), os.Chmod(stage, 0o755)); err != nil { // whatever the umask
		return err
	}
	for _, inside := range sorted(directories) {
		o := archive.Options{MaxBytes: maxDisk, MaxFiles: maxDiskFiles, Symlinks: true}
		if err := archive.Copy(ctx, directories[inside], filepath.Join(stage, inside), o); err != nil {
			return fmt.Errorf("copy %s: %w", directories[inside], err)
		}
	}
	conf := filepath.Join(dir, "mke2fs.conf")
	if err := os.WriteFile(conf, []byte(mke2fsConf), 0o644); err != nil {
		return err
	}
	image := filepath.Join(dir, diskFile)
	command := append(asRoot(ctx), mkfs(label, stage, image, c)...)
	if path, err := host.Find(command[0]); err == nil {
		command[0] = path
	}
	cmd := child.Command(ctx, command[0], command[1:]...)
	cmd.Env = append(host.Env(), "MKE2FS_CONFIG="+conf)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %s: %w", lastLine(out, err), err)
	}
	for _, name := range []string{stage, conf} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	return os.Chmod(image, 0o444)
}

// mkfs is the command that makes an image of what is in stage.
func mkfs(label, stage, image string, c content) []string {
	return []string{
		"mkfs.ext4", "-q", "-F", "-d", stage, "-m", "0", "-L", label,
		"-N", strconv.FormatInt(diskInodes(c), 10),
		"-U", imageUUID, "-E", "hash_seed=" + imageUUID + ",lazy_itable_init=0,nodiscard,root_owner=0:0",
		image, strconv.FormatInt(diskBytes(c)>>10, 10) + "k",
	}
}

// diskInodes is room for every file, the path above them, and the file
// system's own.
func diskInodes(c content) int64 { return c.files + 64 }

// diskBytes is room for the content, its inodes and the file system's own
// blocks: bitmaps, descriptors, extents. What is not used stays a hole.
func diskBytes(c content) int64 {
	const inodeSize = 256
	n := c.bytes + diskInodes(c)*inodeSize + c.bytes/16 + 8<<20
	return (n + blockSize - 1) / blockSize * blockSize
}

// asRoot are the words before a command that make an ordinary user's files
// root's in its eyes, or none where that is forbidden: a modules disk does
// without.
func asRoot(ctx context.Context) []string {
	words := []string{"unshare", "--user", "--map-root-user"}
	if os.Geteuid() == 0 || child.Command(ctx, words[0], append(words[1:3:3], "true")...).Run() != nil {
		return nil
	}
	return words
}
