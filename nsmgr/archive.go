// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"archive/tar"
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
	// maxArchived is the most bytes that the files of an archive may have
	// together. The policy of a whole distribution has about 10 MB.
	maxArchived = 256 << 20
	// maxManifest is the most bytes of the manifest, and maxSaved the most
	// profiles of an archive.
	maxManifest = 16 << 20
	maxSaved    = 20_000
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

// ErrArchive is the error of a file that is not an archive of policy, or not as
// it was written.
var ErrArchive = errors.New("not an intact archive of policy")

// ReadArchive reads what [WriteArchive] wrote, and checks that it is complete
// and unchanged. An archive may come from anybody: nothing in it is written to
// a file, its sizes are bounded, and each profile must be compiled policy of
// the name that the manifest gives it, for no namespace of its own.
func ReadArchive(r io.Reader) (Manifest, Policy, error) {
	m, p, err := readArchive(&archiveReader{tar: tar.NewReader(r), left: maxArchived})
	if err != nil {
		return Manifest{}, nil, fmt.Errorf("%w: %w", ErrArchive, err)
	}
	return m, p, nil
}

func readArchive(a *archiveReader) (m Manifest, p Policy, err error) {
	name, data, err := a.next(maxManifest)
	if err != nil {
		return m, nil, err
	}
	if name != manifestFile {
		return m, nil, fmt.Errorf("its first file is %q, not %s", name, manifestFile)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, nil, fmt.Errorf("read %s: %w", manifestFile, err)
	}
	if m.Format != ArchiveFormat {
		return m, nil, fmt.Errorf("its format is %d, and this nsmgr reads format %d", m.Format, ArchiveFormat)
	}
	if len(m.Profiles) > maxSaved {
		return m, nil, fmt.Errorf("it has %d profiles, and %d are allowed", len(m.Profiles), maxSaved)
	}
	for _, s := range m.Profiles {
		name, data, err := a.next(maxArchived)
		if err != nil {
			return m, nil, fmt.Errorf("profile %q: %w", s.Name, err)
		}
		if name != s.File || hash(data) != s.SHA256 {
			return m, nil, fmt.Errorf("profile %q differs from what was saved", s.Name)
		}
		if err := checkSaved(s.Name, data); err != nil {
			return m, nil, fmt.Errorf("profile %q: %w", s.Name, err)
		}
		p = append(p, Blob{s.Name, data})
	}
	if _, _, err := a.next(maxArchived); !errors.Is(err, io.EOF) {
		return m, nil, errors.New("it has more files than were saved")
	}
	return m, p, nil
}

// checkSaved checks that data is the one profile that it is called.
func checkSaved(name string, data []byte) error {
	units, err := Units(data)
	if err != nil {
		return err
	}
	if len(units) != 1 || units[0].Name != name {
		return fmt.Errorf("its file holds %d profiles, the first of them %q", len(units), units[0].Name)
	}
	if ns := units[0].foreign(); ns != "" {
		return fmt.Errorf("it names namespace %q", ns)
	}
	return nil
}

// archiveReader reads the files of an archive, no more than left bytes.
type archiveReader struct {
	tar  *tar.Reader
	left int64
}

// next reads a file of at most so many bytes.
func (a *archiveReader) next(most int64) (string, []byte, error) {
	h, err := a.tar.Next()
	if err != nil {
		return "", nil, err
	}
	if h.Typeflag != tar.TypeReg {
		return "", nil, fmt.Errorf("%q is not a regular file", h.Name)
	}
	most = min(most, a.left)
	if h.Size > most {
		return "", nil, fmt.Errorf("%q has %d bytes, and %d are allowed", h.Name, h.Size, most)
	}
	// The header's size is not trusted: a sparse file has more than it brings.
	b, err := io.ReadAll(io.LimitReader(a.tar, most+1))
	if err != nil {
		return "", nil, err
	}
	if int64(len(b)) > most {
		return "", nil, fmt.Errorf("%q has more than %d bytes", h.Name, most)
	}
	a.left -= int64(len(b))
	return h.Name, b, nil
}
