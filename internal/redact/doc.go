// Package redact takes secrets out of what is written down and shown: errors, answers of
// others, what programs say.
//
// Values are secrets that are known, with all the forms in which others quote them:
//
//	hidden := redact.Values{}.Add(token, "[token]")
//	err = errors.New(hidden.Text(err.Error()))
//
// Text is for what others say when nobody knows which of our secrets they were told: it takes
// out what is a secret by its look.
package redact
