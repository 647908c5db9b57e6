// A file in the kernel's style, written for these tests.
#define MACRO(x) do { if (x) \
	call(x); } while (0)

/* if (comment) must not count */
static int decide(struct label *label, u32 request)
{
	char *text = "if (string) {";
	int error = 0;

	if (!label || (request & MAY_WRITE && label->size > 1))
		return -EACCES;
	if (label->unconfined)
		note(label, text);
	else
		count(label);
	error = check(label,
		      request & ~MAY_READ);
	switch (request) {
	case MAY_EXEC:
		break;
	}
	return error;
}

int other(void)
{
	if (ready(1) &&
	    ready(2)) {
		report();
	}
	return 0;
}
