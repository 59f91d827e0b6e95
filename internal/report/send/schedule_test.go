package send

import (
	"fmt"
	"testing"
	"time"
)

// All reports are due between 00:10 and 06:00 UTC of the next day, at times that are spread over this period.
func TestDue(t *testing.T) {
	day := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	perHour := map[int]int{}
	for i := range 1000 {
		at := Due(fmt.Sprintf("d%d.test", i), day)
		if since := at.Sub(day.AddDate(0, 0, 1)); since < 10*time.Minute || since >= 6*time.Hour {
			t.Errorf("due at %v", at)
		}
		perHour[at.Hour()]++
	}
	for hour := range 6 {
		if n := perHour[hour]; n < 80 || n > 250 {
			t.Errorf("%d of 1000 reports are due in hour %d", n, hour)
		}
	}
}
