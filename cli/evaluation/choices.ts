import { CliFailure, isSystemError } from '../command/failure.ts'
import { readNamedText } from '../command/named-file.ts'

const mostChoices = 10_000

/** The labels of `--choices`: a file with one per line where there is one of that name, else a list with commas. */
export async function readChoices(given: string): Promise<readonly string[]> {
  const file = await readIfThere(given)
  const labels = (file === undefined ? given.split(',') : file.split('\n'))
    .map((label) => label.trim())
    .filter((label) => label !== '')
  if (labels.length < 2)
    throw new CliFailure(
      file === undefined && /[./]/.test(given)
        ? `--choices: there is no file ${given}`
        : `--choices names ${labels.length === 0 ? 'no label' : 'one label'}`,
      { remedy: 'give at least two, as a,b,c or as a file with one per line' },
    )
  if (labels.length > mostChoices)
    throw new CliFailure(`--choices names ${labels.length} labels`, { remedy: `give at most ${mostChoices}` })
  const repeated = labels.find((label, at) => labels.indexOf(label) !== at)
  if (repeated !== undefined)
    throw new CliFailure(`--choices names “${repeated}” twice`, { remedy: 'name each label once' })
  return labels
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readNamedText(path)
  } catch (error) {
    if (isSystemError(error) && ['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(error.code)) return undefined
    throw error
  }
}
