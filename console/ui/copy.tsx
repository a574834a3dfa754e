import { useEffect, useState } from 'preact/hooks'

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [outcome, setOutcome] = useState<'idle' | 'copied' | 'failed'>('idle')
  useEffect(() => {
    if (outcome === 'idle') return
    const timer = setTimeout(() => setOutcome('idle'), 2_000)
    return () => clearTimeout(timer)
  }, [outcome])
  const copy = () => {
    navigator.clipboard.writeText(text).then(
      () => setOutcome('copied'),
      () => setOutcome('failed'),
    )
  }
  return (
    <button type="button" class="small" onClick={copy}>
      <span aria-live="polite">
        {outcome === 'copied' ? 'Copied' : outcome === 'failed' ? 'Select and copy by hand' : label}
      </span>
    </button>
  )
}

/** A secret that is shown this once. It lives in this component alone and goes with it. */
export function SecretOnce({ secret, onDone }: { secret: string; onDone: () => void }) {
  return (
    <div class="notice good" role="status">
      <p>
        <strong>Copy the key now.</strong> It is shown this once: the edge keeps only its hash.
      </p>
      <code class="secret">{secret}</code>
      <div class="actions">
        <Copy text={secret} label="Copy key" />
        <button type="button" class="small" onClick={onDone}>
          I have copied it
        </button>
      </div>
    </div>
  )
}
