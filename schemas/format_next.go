//go:build waybill_next_format

package schemas

// ahead makes of this build a release whose log the others cannot read, and changes nothing else:
// integration/upgrade shows with it what a mixed fleet does.
const ahead = 1
