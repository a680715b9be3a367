package schemas

import "fmt"

// LogFormat numbers what the log may hold: it grows when a release writes what the one before cannot read, or would
// read otherwise. A process says with each shard that it takes up to which format it may write there,
// and one that knows less stays away from what comes after.
const LogFormat = 1 + ahead

// FormatError is a log that was written by a newer Waybill. Whoever meets it must neither decide there
// nor show what it makes of it.
type FormatError struct{ Format int }

// Error implements error.
func (e *FormatError) Error() string {
	return fmt.Sprintf("written by a newer Waybill (format %d; this one knows up to %d): upgrade this process", e.Format, LogFormat)
}

// CheckFormat refuses what a log of that format may hold, unless this build knows it. 0 is what was
// written before formats were numbered: the first.
func CheckFormat(format int) error {
	if format > LogFormat {
		return &FormatError{format}
	}
	return nil
}
