package nsmgr

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Manifest is the first file of an archive of policy.
type Manifest struct {
	Format    int             `json:"format"` // ArchiveFormat
	Namespace Name            `json:"namespace"`
	Saved     time.Time       `json:"saved"`
	Features  string          `json:"features"` // Features.Digest of the kernel that had it
	Profiles  []SavedProfile  `json:"profiles"` // in the order to load them
	Extra     json.RawMessage `json:"extra,omitempty"`
}

// SavedProfile is one file of an archive.
type SavedProfile struct {
	Name   string `json:"name"`
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// ArchiveFormat is the version of the archives that are written.
const ArchiveFormat = 1

const (
	manifestFile = "manifest.json"
	// maxArchived bounds one file of an archive: policy of a whole
	// distribution is some 10 MB.
	maxArchived = 256 << 20
)

// WriteArchive writes policy, as [View.Save] returns it, as a tar archive.
func WriteArchive(w io.Writer, m Manifest, p Policy) error {
	m.Format, m.Profiles = ArchiveFormat, []SavedProfile{}
	for i, b := range p {
		m.Profiles = append(m.Profiles, SavedProfile{b.Origin, fmt.Sprintf("%04d.policy", i), hash(b.Data)})
	}
	head, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	put := func(name string, data []byte) error {
		h := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: m.Saved, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := t.Write(data)
		return err
	}
	if err := put(manifestFile, append(head, '\n')); err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	for i, b := range p {
		if err := put(m.Profiles[i].File, b.Data); err != nil {
			return fmt.Errorf("write the archive: %w", err)
		}
	}
	return t.Close()
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ErrArchive is the error of what is no archive of ours, or not as it was
// written.
var ErrArchive = errors.New("not an intact archive of policy")

// ReadArchive reads what [WriteArchive] wrote, and checks that it is all there
// and unchanged.
func ReadArchive(r io.Reader) (Manifest, Policy, error) {
	m, p, err := readArchive(tar.NewReader(r))
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	return m, p, nil
}

func readArchive(t *tar.Reader) (m Manifest, p Policy, err error) {
	name, data, err := nextFile(t)
	if err != nil {
		return m, nil, err
	}
	if name != manifestFile {
		return m, nil, fmt.Errorf("it begins with %q", name)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, nil, fmt.Errorf("read %s: %w", manifestFile, err)
	}
	if m.Format != ArchiveFormat {
		return m, nil, fmt.Errorf("its format is %d, and this nsmgr knows %d", m.Format, ArchiveFormat)
	}
	for _, s := range m.Profiles {
		name, data, err := nextFile(t)
		if err != nil {
			return m, nil, fmt.Errorf("profile %q: %w", s.Name, err)
		}
		if name != s.File || hash(data) != s.SHA256 {
			return m, nil, fmt.Errorf("profile %q is not what was saved", s.Name)
		}
		p = append(p, Blob{s.Name, data})
	}
	if _, _, err := nextFile(t); !errors.Is(err, io.EOF) {
		return m, nil, errors.New("there is more in it than was saved")
	}
	return m, p, nil
}

func nextFile(t *tar.Reader) (string, []byte, error) {
	h, err := t.Next()
	if err != nil {
		return "", nil, err
	}
	if h.Size > maxArchived {
		return "", nil, fmt.Errorf("%q has %d bytes", h.Name, h.Size)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, t); err != nil {
		return "", nil, err
	}
	return h.Name, b.Bytes(), nil
}
