package isolation

// mask is the field of what a record says was asked for.
func mask(m string) map[string]string { return map[string]string{"requested_mask": m} }

const filePerm = "file.c: aa_path_perm evaluates every profile of the label (fn_for_each_confined) and takes the worst; each that denies audits"

var fileRows = []Row{
	{
		Group: "file", Name: "read", About: "open a file for reading", Why: filePerm, Smoke: true,
		Deny:    "audit deny /iso/f r,",
		Prepare: []string{"put /iso/f"}, Do: []string{"f = open /iso/f r", "read f"},
		Records: []Record{{Operation: "open", Name: "/iso/f", Fields: mask("r")}},
	},
	{
		Group: "file", Name: "write", About: "open a file for writing", Why: filePerm,
		Deny:    "audit deny /iso/f w,",
		Prepare: []string{"put /iso/f"}, Do: []string{"f = open /iso/f w", "write f"},
		Records: []Record{{Operation: "open", Name: "/iso/f", Fields: mask("w")}},
	},
}
