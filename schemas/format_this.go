//go:build !waybill_next_format

package schemas

const ahead = 0
