// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// maxConfig is more than any .config has bytes (Debian's has 280 kB).
const maxConfig = 16 << 20

// ConfigValue is the value of a config option such as CONFIG_VIRTIO_BLK: "y",
// "m", a number, a string without its quotes, or "" if it is not set. known is
// false if the build's config is unknown.
func (b *Build) ConfigValue(name string) (value string, known bool) {
	config := b.Options()
	if config == nil {
		return "", false
	}
	return config[name], true
}

// Options are all options of the config that are set; nil if the config is
// unknown.
func (b *Build) Options() map[string]string {
	b.readOptions()
	return b.config
}

// Off reports whether the config states that the option is not set. It is false
// for an option that this kernel does not have or that depends on another one
// that is not set, and for all where the config may be newer than the kernel.
func (b *Build) Off(name string) bool {
	b.readOptions()
	return b.configOff[name] && !b.ConfigEdited
}

func (b *Build) readOptions() {
	b.configOnce.Do(func() {
		if b.Config == "" {
			return
		}
		if text, err := readConfig(b.Config); err == nil {
			b.config, b.configOff = parseConfig(text)
		}
	})
}

// readConfig reads a .config, gzipped or not.
func readConfig(path string) ([]byte, error) {
	b, err := host.ReadFile(path, maxConfig)
	if err != nil || !bytes.HasPrefix(b, []byte("\x1f\x8b")) {
		return b, err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxConfig))
}

// parseConfig reads a .config: the options that are set, nil if text is none, and
// those that it says are not.
func parseConfig(text []byte) (config map[string]string, off map[string]bool) {
	off = map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# CONFIG_"); ok {
			if name, ok := strings.CutSuffix(rest, " is not set"); ok {
				off["CONFIG_"+name] = true
				delete(config, "CONFIG_"+name) // of several lines, the last counts
			}
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || !strings.HasPrefix(name, "CONFIG_") {
			continue
		}
		if config == nil {
			config = map[string]string{}
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		config[name] = value
		delete(off, name)
	}
	return config, off
}

func isConfig(text []byte) bool {
	config, _ := parseConfig(text)
	return config != nil
}

// A requirement is what a kernel must have for us to run on it at all.
type requirement struct {
	option string
	kinds  []Kind
	module bool   // m will do, if there are modules
	lack   string // what a kernel without it is without
}

var requirements = []requirement{
	{"CONFIG_SECURITY_APPARMOR", []Kind{UML, BzImage, Image, Local}, false, "AppArmor"},
	{"CONFIG_64BIT", []Kind{UML, BzImage, Image}, false, "64-bit support"},
	{"CONFIG_SERIAL_8250_CONSOLE", []Kind{BzImage}, false, "a serial console"},
	// QEMU's machine virt.
	{"CONFIG_SERIAL_AMBA_PL011_CONSOLE", []Kind{Image}, false, "the PL011 serial console"},
	{"CONFIG_PCI_HOST_GENERIC", []Kind{Image}, true, "the generic PCI host"},
	{"CONFIG_BLK_DEV_INITRD", []Kind{UML, BzImage, Image}, false, "initrd support"},
	{"CONFIG_VIRTIO_PCI", []Kind{BzImage, Image}, true, "virtio over PCI"},
	{"CONFIG_VIRTIO_BLK", []Kind{BzImage, Image}, true, "virtio disks"},
	{"CONFIG_SSL", []Kind{UML}, false, "serial lines"},
	{"CONFIG_BLK_DEV_UBD", []Kind{UML}, false, "ubd disks"},
	{"CONFIG_EXT4_FS", []Kind{BzImage, Image, UML}, true, "ext4"},
	// A kernel that grew from make tinyconfig may lack any of these.
	{"CONFIG_PROC_FS", []Kind{UML, BzImage, Image}, false, "/proc"},
	{"CONFIG_SYSFS", []Kind{UML, BzImage, Image}, false, "/sys"},
	{"CONFIG_DEVTMPFS", []Kind{UML, BzImage, Image}, false, "devtmpfs"},
	{"CONFIG_TMPFS", []Kind{UML, BzImage, Image}, false, "tmpfs"},
	{"CONFIG_UNIX98_PTYS", []Kind{UML, BzImage, Image}, false, "pseudo terminals"},
	{"CONFIG_BINFMT_SCRIPT", []Kind{UML, BzImage, Image}, false, "scripts that start with #!"},
	// The Go runtime of the guest's init.
	{"CONFIG_FUTEX", []Kind{UML, BzImage, Image}, false, "futexes"},
	{"CONFIG_EPOLL", []Kind{UML, BzImage, Image}, false, "epoll"},
}

// Check returns why the build cannot be tested, as far as its config or its
// image shows it. One error names everything that is missing; it is a user error.
func (b *Build) Check() error {
	if _, known := b.ConfigValue(""); !known {
		if b.noAppArmor {
			return exit.BadInputf("kernel %s: a kernel without AppArmor (its image has no trace of it)", b.Spec)
		}
		return nil
	}
	var lacks []string
	for _, r := range requirements {
		if !slices.Contains(r.kinds, b.Kind) {
			continue
		}
		v, _ := b.ConfigValue(r.option)
		switch {
		case v == "y":
		case v != "m" || !r.module:
			lacks = append(lacks, fmt.Sprintf("a kernel without %s (%s is not set)", r.lack, r.option))
		case b.Modules == "" || b.Kind == UML:
			// An initramfs with modules is made for QEMU only.
			lacks = append(lacks, fmt.Sprintf("%s is a module (%s=m), but the build has no modules: add ,modules=DIR, or give its build tree", r.lack, r.option))
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return exit.BadInputf("kernel %s: %s", b.Spec, strings.Join(lacks, "; "))
}
