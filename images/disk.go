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
	"time"

	"proofhouse/internal/cache"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
)

//go:embed mke2fs.conf
var mke2fsConf string

const (
	diskFile = "disk.ext4"
	// diskRecipe is raised when the same folders make another disk.
	diskRecipe = "1"
)

// labelRE is what a disk may be called: ext4 keeps 16 bytes.
var labelRE = regexp.MustCompile(`^[a-z][a-z0-9-]{0,15}$`)

// Disk returns the path of a read-only ext4 image that holds folders: path
// inside -> folder on the host. It is made once for the same content, by
// path, size, mode and time of the files, and belongs to root inside wherever
// that can be had. A folder that is not there is exit.BadInput. progress may
// be nil.
func Disk(ctx context.Context, label string, folders map[string]string, progress func(string)) (string, error) {
	if !labelRE.MatchString(label) {
		return "", fmt.Errorf("disk %q: not a label", label)
	}
	for inside := range folders {
		if !filepath.IsLocal(inside) || filepath.Clean(inside) == "." {
			return "", fmt.Errorf("disk %s: %q is no path inside it", label, inside)
		}
	}
	c, err := survey(folders)
	if err != nil {
		return "", fmt.Errorf("disk %s: %w", label, err)
	}
	dir, err := cache.Entry(ctx, room, label+"-"+c.hash[:16], func(ctx context.Context, dir string) error {
		if progress != nil {
			progress(fmt.Sprintf("disk %s: packing %d MB", label, c.bytes/1e6))
		}
		return makeDisk(ctx, dir, label, folders, c)
	})
	if err != nil {
		return "", fmt.Errorf("disk %s: %w", label, err)
	}
	return filepath.Join(dir, diskFile), nil
}

// content is what is in some folders: enough to name it and to make room for it.
type content struct {
	hash  string
	bytes int64 // in whole blocks
	files int64 // inodes, folders too
}

const blockSize = 4096

// survey walks the folders without reading their files.
func survey(folders map[string]string) (content, error) {
	var c content
	h := sha256.New()
	_, _ = fmt.Fprintln(h, diskRecipe, mke2fsConf)
	for _, inside := range sorted(folders) {
		if st, err := os.Stat(folders[inside]); err != nil {
			return c, exit.BadInput(fmt.Errorf("read the folder: %w", err))
		} else if !st.IsDir() {
			return c, exit.BadInputf("%s is not a folder", folders[inside])
		}
		_, _ = fmt.Fprintf(h, "%q\n", inside)
		err := walk(folders[inside], func(rel string, info fs.FileInfo, link string) error {
			c.files++
			c.bytes += (info.Size() + blockSize - 1) / blockSize * blockSize
			size, modified := info.Size(), info.ModTime().UnixNano()
			if info.IsDir() { // a folder is what is in it
				size, modified = 0, 0
			}
			_, err := fmt.Fprintf(h, "%q %v %d %d %q\n", rel, info.Mode(), size, modified, link)
			return err
		})
		if err != nil {
			return c, fmt.Errorf("read the folder: %w", err)
		}
	}
	c.hash = hex.EncodeToString(h.Sum(nil))
	return c, nil
}

// walk calls f for dir and all below it, in a fixed order, with the target of
// a symlink. dir itself may be a symlink to a folder.
func walk(dir string, f func(rel string, info fs.FileInfo, link string) error) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(name); err != nil {
				return err
			}
		}
		return f(rel, info, link)
	})
}

// makeDisk fills dir, a cache entry in the making.
func makeDisk(ctx context.Context, dir, label string, folders map[string]string, c content) error {
	if err := needTools("mkfs.ext4"); err != nil {
		return err
	}
	stage := filepath.Join(dir, "stage")
	if err := errors.Join(os.Mkdir(stage, 0o755), os.Chmod(stage, 0o755)); err != nil { // whatever the umask
		return err
	}
	for _, inside := range sorted(folders) {
		if err := copyFolder(ctx, filepath.Join(stage, inside), folders[inside]); err != nil {
			return fmt.Errorf("copy %s: %w", folders[inside], err)
		}
	}
	conf := filepath.Join(dir, "mke2fs.conf")
	if err := os.WriteFile(conf, []byte(mke2fsConf), 0o644); err != nil {
		return err
	}
	image := filepath.Join(dir, diskFile)
	command := append(asRoot(ctx), mkfs(label, stage, image, c)...)
	cmd := child.Command(ctx, command[0], command[1:]...)
	cmd.Env = append(hostEnv(), "MKE2FS_CONFIG="+conf)
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
		toolPath("mkfs.ext4"), "-q", "-F", "-d", stage, "-m", "0", "-L", label,
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

// copyFolder copies a folder: a copy, and no links, because owner and mode are
// made those of a file that root installed.
func copyFolder(ctx context.Context, to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return walk(from, func(rel string, info fs.FileInfo, link string) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		target := filepath.Join(to, rel)
		switch {
		case info.IsDir():
			return errors.Join(os.MkdirAll(target, 0o755), os.Chmod(target, 0o755))
		case link != "":
			return os.Symlink(link, target)
		case info.Mode().IsRegular():
			return copyFile(target, filepath.Join(from, rel), readable(info.Mode()), info.ModTime())
		}
		return fmt.Errorf("%s is no file, folder or symlink", rel)
	})
}

func copyFile(to, from string, mode fs.FileMode, modified time.Time) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Chmod(mode)); err != nil {
		_ = out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Chtimes(to, modified, modified)
}
