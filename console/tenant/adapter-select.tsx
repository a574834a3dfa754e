import type { AdapterSummary } from '../../shared/api/deployments.ts'
import { Select } from '../ui/field.tsx'
import { moment, shortDigest } from '../ui/format.ts'

/** A choice among a tenant's adapters, by digest. */
export function AdapterSelect({
  adapters,
  ...field
}: {
  adapters: readonly AdapterSummary[]
  label: string
  value: string
  onValue: (digest: string) => void
  hint?: string
}) {
  return (
    <Select
      {...field}
      options={adapters.map(({ createdAt, digest, kind }) => ({
        value: digest,
        label: `${shortDigest(digest)} · ${kind} · ${moment(createdAt)}`,
      }))}
    />
  )
}
