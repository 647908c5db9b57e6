// SPDX-License-Identifier: Apache-2.0
/*
 * ldd FILE for mkprofile.pl, which starts it for every profile of every test.
 *
 * The C library's ldd is a bash script that runs the dynamic loader three
 * times. For the one case that matters (one file, which this user may execute
 * and which names its loader) its answer is that of "LOADER --list FILE".
 * Everything else goes to the C library's ldd.
 */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#ifndef PLAIN
#define PLAIN "/usr/lib/proofhouse/plain/ldd"
#endif

/* The loader that a 64-bit ELF file of this machine names; 0 if it names none. */
static int loader_of(const char *file, char *loader, size_t size)
{
	Elf64_Ehdr e;
	Elf64_Phdr p;
	int fd = open(file, O_RDONLY | O_CLOEXEC), found = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &e, sizeof(e), 0) != sizeof(e) || memcmp(e.e_ident, ELFMAG, SELFMAG) ||
	    e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_phentsize != sizeof(p) ||
#if defined(__x86_64__)
	    e.e_machine != EM_X86_64)
#elif defined(__aarch64__)
	    e.e_machine != EM_AARCH64)
#else
	    1)
#endif
		goto out;
	for (int i = 0; i < e.e_phnum; i++) {
		if (pread(fd, &p, sizeof(p), e.e_phoff + i * sizeof(p)) != sizeof(p))
			goto out;
		if (p.p_type != PT_INTERP || p.p_filesz < 2 || p.p_filesz > size)
			continue;
		if (pread(fd, loader, p.p_filesz, p.p_offset) != (ssize_t)p.p_filesz)
			goto out;
		found = loader[p.p_filesz - 1] == 0 && loader[0] == '/';
		break;
	}
out:
	close(fd);
	return found;
}

int main(int argc, char **argv)
{
	char loader[PATH_MAX];

	if (argc == 2 && argv[1][0] == '/' && !access(argv[1], R_OK | X_OK) &&
	    loader_of(argv[1], loader, sizeof(loader)) && !access(loader, X_OK))
		execl(loader, loader, "--list", argv[1], (char *)0);
	execv(PLAIN, argv);
	return 127;
}
