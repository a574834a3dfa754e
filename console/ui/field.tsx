import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'

interface Common {
  readonly label: string
  readonly hint?: ComponentChildren
  readonly wrong?: string | undefined
}

/** A labelled control; hint and complaint belong to it for screen readers as well. */
function Labelled({
  label,
  hint,
  wrong,
  control,
}: Common & {
  control: (attributes: {
    id: string
    'aria-describedby': string
    'aria-invalid': boolean
  }) => ComponentChildren
}) {
  const id = useId()
  const described = `${id}-about`
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {control({ id, 'aria-describedby': described, 'aria-invalid': wrong !== undefined })}
      <p id={described} class={wrong === undefined ? 'hint' : 'hint wrong'}>
        {wrong ?? hint}
      </p>
    </div>
  )
}

export function TextField({
  value,
  onValue,
  type = 'text',
  required = false,
  ...common
}: Common & {
  value: string
  onValue: (value: string) => void
  type?: 'text' | 'password' | 'date' | 'datetime-local'
  required?: boolean
}) {
  return (
    <Labelled
      {...common}
      control={(attributes) => {
        const shared = {
          ...attributes,
          value,
          required,
          autoComplete: 'off',
          onInput: (event: Event) => {
            if (event.currentTarget instanceof HTMLInputElement) onValue(event.currentTarget.value)
          },
        }
        if (type === 'password') return <input {...shared} type="password" />
        if (type === 'date') return <input {...shared} type="date" />
        if (type === 'datetime-local') return <input {...shared} type="datetime-local" />
        return <input {...shared} type="text" spellcheck={false} />
      }}
    />
  )
}

export function TextArea({
  value,
  onValue,
  rows = 3,
  placeholder,
  ...common
}: Common & { value: string; onValue: (value: string) => void; rows?: number; placeholder?: string }) {
  return (
    <Labelled
      {...common}
      control={(attributes) => (
        <textarea
          {...attributes}
          rows={rows}
          value={value}
          placeholder={placeholder}
          onInput={(event) => onValue(event.currentTarget.value)}
        />
      )}
    />
  )
}

export function Select<T extends string>({
  value,
  onValue,
  options,
  ...common
}: Common & {
  value: T
  onValue: (value: T) => void
  options: readonly { readonly value: T; readonly label: string }[]
}) {
  return (
    <Labelled
      {...common}
      control={(attributes) => (
        <select
          {...attributes}
          value={value}
          onChange={(event) => {
            const chosen = options.find((option) => option.value === event.currentTarget.value)
            if (chosen !== undefined) onValue(chosen.value)
          }}
        >
          {options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.label}
            </option>
          ))}
        </select>
      )}
    />
  )
}

export function Slider({
  value,
  onValue,
  min,
  max,
  step,
  shown = String(value),
  ...common
}: Common & {
  value: number
  onValue: (value: number) => void
  min: number
  max: number
  step: number
  shown?: string
}) {
  return (
    <Labelled
      {...common}
      label={`${common.label}: ${shown}`}
      control={(attributes) => (
        <input
          {...attributes}
          type="range"
          min={min}
          max={max}
          step={step}
          value={value}
          aria-valuetext={shown}
          onInput={(event) => onValue(event.currentTarget.valueAsNumber)}
        />
      )}
    />
  )
}
