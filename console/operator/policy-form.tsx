import { useState } from 'preact/hooks'
import type { TenantPolicy } from '../../shared/api/policy.ts'
import { send } from '../api/call.ts'
import { useAction } from '../api/use-action.ts'
import { TextField } from '../ui/field.tsx'
import { Failure } from '../ui/notice.tsx'

const limits = [
  { name: 'requestsPerMinute', label: 'Requests per minute' },
  { name: 'tokensPerMinute', label: 'Tokens per minute' },
  { name: 'concurrentRequests', label: 'Requests at the same time' },
  { name: 'tokensPerDay', label: 'Tokens per day (UTC)' },
  { name: 'tokensPerMonth', label: 'Tokens per month (UTC)' },
  { name: 'adapterBytes', label: 'Bytes of all adapters' },
  { name: 'fileBytes', label: 'Bytes of all files' },
  { name: 'trainingTokensPerMonth', label: 'Tokens trained per month (UTC)' },
  { name: 'shadowTokensPerDay', label: 'Tokens of shadows per day (UTC), 0 for none' },
] as const
type LimitName = (typeof limits)[number]['name']

const asText = (limit: number | null): string => (limit === null ? '' : String(limit))

/** undefined where the text is no whole number. */
const asLimit = (text: string): number | null | undefined => {
  if (text.trim() === '') return null
  return /^[0-9]{1,15}$/.test(text.trim()) ? Number(text) : undefined
}

/** undefined where the text is no number from 0 to 1. */
const asShare = (text: string): number | undefined =>
  /^(0|1|0?[.][0-9]{1,6}|1[.]0{1,6})$/.test(text.trim()) ? Number(text) : undefined

export function PolicyForm({
  path,
  policy,
  onChanged,
}: {
  path: string
  policy: TenantPolicy
  onChanged: () => void
}) {
  const [texts, setTexts] = useState<Readonly<Record<LimitName, string>>>(() => ({
    requestsPerMinute: asText(policy.requestsPerMinute),
    tokensPerMinute: asText(policy.tokensPerMinute),
    concurrentRequests: asText(policy.concurrentRequests),
    tokensPerDay: asText(policy.tokensPerDay),
    tokensPerMonth: asText(policy.tokensPerMonth),
    adapterBytes: asText(policy.adapterBytes),
    fileBytes: asText(policy.fileBytes),
    trainingTokensPerMonth: asText(policy.trainingTokensPerMonth),
    shadowTokensPerDay: asText(policy.shadowTokensPerDay),
  }))
  const [share, setShare] = useState(String(policy.cachedTokenShare))
  const [batchShare, setBatchShare] = useState(String(policy.batchTokenShare))
  const [aliases, setAliases] = useState(policy.aliases?.join(', ') ?? '')
  const save = useAction(async (session) => {
    const models = aliases.split(',').flatMap((alias) => (alias.trim() === '' ? [] : [alias.trim()]))
    const changed = Object.fromEntries(limits.map(({ name }) => [name, asLimit(texts[name])]))
    await send(session, {
      method: 'PATCH',
      path,
      json: {
        policy: {
          ...changed,
          cachedTokenShare: asShare(share),
          batchTokenShare: asShare(batchShare),
          aliases: models.length === 0 ? null : models,
        },
      },
    })
    onChanged()
  })
  const valid =
    asShare(share) !== undefined &&
    asShare(batchShare) !== undefined &&
    limits.every(({ name }) => asLimit(texts[name]) !== undefined)
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        if (valid) save.run()
      }}
    >
      <div class="columns">
        {limits.map(({ label, name }) => (
          <TextField
            key={name}
            label={label}
            value={texts[name]}
            onValue={(text) => setTexts({ ...texts, [name]: text })}
            hint="Empty: no limit."
            wrong={
              asLimit(texts[name]) === undefined
                ? 'Must be a whole number, or empty for no limit.'
                : undefined
            }
          />
        ))}
        <ShareField label="Price of a cached prompt token" value={share} onValue={setShare} />
        <ShareField label="Price of a token of a batch" value={batchShare} onValue={setBatchShare} />
        <TextField
          label="Models that it may ask for"
          value={aliases}
          onValue={setAliases}
          hint="Names with commas between them. Empty: all of its aliases and the backbone."
        />
      </div>
      {save.failure === undefined ? null : <Failure failure={save.failure} />}
      <div class="actions">
        <button type="submit" class="primary" disabled={!valid || save.running}>
          {save.running ? 'Saving…' : 'Save policy'}
        </button>
      </div>
    </form>
  )
}

function ShareField(props: { label: string; value: string; onValue: (value: string) => void }) {
  return (
    <TextField
      {...props}
      hint="From 0 (free) to 1 (as any other token)."
      wrong={asShare(props.value) === undefined ? 'Must be a number from 0 to 1, such as 0.5.' : undefined}
    />
  )
}
