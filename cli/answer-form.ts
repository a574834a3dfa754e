import { Option } from 'commander'
import { AnswerForm, schemaForm } from '../shared/api/structure.ts'
import { CliFailure } from './command/failure.ts'
import { readNamedText } from './command/named-file.ts'

/** The option that says which form an alias gives its answers. */
export const answerFormOption = () =>
  new Option(
    '--response-format <file>',
    'the form of its answers where a request asks for none: a file with a JSON schema or a response_format, json_object, or none; absent: as it is',
  )

/**
 * The form that the option names; null for `none`, undefined where it is absent. A schema gets the alias's name. Throws
 * CliFailure for a file that holds neither.
 */
export async function readAnswerForm(
  given: string | undefined,
  { name }: { readonly name: string },
): Promise<AnswerForm | null | undefined> {
  if (given === undefined) return undefined
  if (given === 'none') return null
  if (given === 'json_object') return { type: 'json_object' }
  const value = await readJsonFile(given)
  const isFormat = typeof value === 'object' && value !== null && 'json_schema' in value
  const parsed = AnswerForm.safeParse(isFormat ? value : schemaForm(value, name))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new CliFailure(`${given} is no response_format: ${issue?.path.join('.')} ${issue?.message}`, {
    remedy:
      'give a file with a JSON schema, or with {"type": "json_schema", "json_schema": {"name", "schema"}}',
  })
}

async function readJsonFile(path: string): Promise<unknown> {
  const text = await readNamedText(path)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CliFailure(`${path} is no file with JSON`, {
      cause,
      remedy: 'give the path of a file with a JSON schema, or json_object, or none',
    })
  }
}
