import { AnswerForm, schemaForm } from '../../shared/api/structure.ts'
import { Select, TextArea } from '../ui/field.tsx'

const kinds = [
  { value: 'keep', label: 'as it is' },
  { value: 'none', label: 'none' },
  { value: 'json_object', label: 'any JSON object' },
  { value: 'json_schema', label: 'JSON of a schema' },
] as const

/** What a deployment makes of the form of an alias's answers. */
export interface FormChoice {
  readonly kind: (typeof kinds)[number]['value']
  /** JSON Schema, as text. */
  readonly schema: string
}

export const keptForm: FormChoice = { kind: 'keep', schema: '' }

type ChosenForm =
  /** `form` as a deployment takes it: null for none, undefined for the one there is. */
  | { readonly ok: true; readonly form: AnswerForm | null | undefined }
  | { readonly ok: false; readonly message: string }

export function chosenForm({ kind, schema }: FormChoice, alias: string): ChosenForm {
  if (kind === 'keep') return { ok: true, form: undefined }
  if (kind === 'none') return { ok: true, form: null }
  if (kind === 'json_object') return { ok: true, form: { type: kind } }
  const value = parsed(schema)
  if (value === undefined) return { ok: false, message: 'Write a JSON Schema, such as {"type": "object"}.' }
  const form = AnswerForm.safeParse(schemaForm(value, alias))
  return form.success
    ? { ok: true, form: form.data }
    : { ok: false, message: form.error.issues[0]?.message ?? 'This is no JSON Schema.' }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Chooses the form of the answers where a request asks for none. */
export function AnswerFormField({
  choice,
  onChoice,
  wrong,
}: {
  choice: FormChoice
  onChoice: (choice: FormChoice) => void
  wrong: string | undefined
}) {
  return (
    <>
      <Select
        label="Form of its answers"
        value={choice.kind}
        onValue={(kind) => onChoice({ ...choice, kind })}
        options={kinds}
        hint="Where a request asks for none. A new alias has none."
      />
      {choice.kind === 'json_schema' ? (
        <TextArea
          label="JSON Schema"
          rows={6}
          value={choice.schema}
          onValue={(schema) => onChoice({ ...choice, schema })}
          wrong={wrong}
        />
      ) : null}
    </>
  )
}

/** The form of an alias's answers, whole. */
export function ShownForm({ form }: { form: AnswerForm | null }) {
  if (form === null) return <>none</>
  if (form.type === 'json_object') return <>any JSON object</>
  const { name, schema } = form.json_schema
  return (
    <details>
      <summary>
        JSON of the schema <code>{name}</code>
      </summary>
      <pre>{JSON.stringify(schema, undefined, 2)}</pre>
    </details>
  )
}
