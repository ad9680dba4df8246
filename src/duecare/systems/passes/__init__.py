"""Annual passes of a park: sale, enrolment, gates, renewal, a change of method, refunds, the holder's page (case 2)."""
