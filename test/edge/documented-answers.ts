import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { z } from 'zod'
import type { DescribedOperation, Document } from '../../edge/openapi/document.ts'

/** Headers that say nothing of the API: of HTTP, of browsers' rules. */
const plain =
  /^(access-control-.*|cache-control|content-length|content-security-policy|content-type|referrer-policy|vary|x-content-type-options)$/

const Failure = z.object({ error: z.object({ code: z.string() }) })

export interface ObservedAnswer {
  readonly method: string
  /** The path of the URL, without its query. */
  readonly path: string
  readonly response: Response
  /** The response's body. */
  readonly text: string
}

/** Holds answers to a document of the API: status, headers, media type and every field, by JSON Schema. */
export class DocumentedAnswers {
  readonly #ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true })
  readonly #operations: readonly {
    readonly method: string
    readonly path: string
    readonly matches: RegExp
    readonly operation: DescribedOperation
  }[]

  constructor(document: Document) {
    this.#ajv.addSchema(z.record(z.string(), z.unknown()).parse(JSON.parse(JSON.stringify(document))), 'doc')
    this.#operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        method,
        path,
        matches: new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{[A-Za-z]+\}/g, '[^/]+')}$`),
        operation,
      })),
    )
  }

  /** The operation that a request is; undefined when it is none. */
  operation({ method, path }: Pick<ObservedAnswer, 'method' | 'path'>): string | undefined {
    return this.#find({ method, path })?.operation.operationId
  }

  /** Lists where an answer differs from the document. The list is empty for a request that is no operation. */
  problems(answered: ObservedAnswer): string[] {
    const { response, text } = answered
    const found = this.#find(answered)
    if (found === undefined) return []
    const described = found.operation.responses[response.status]
    if (described === undefined) return [`no status ${response.status}`]
    const headerProblems = [
      ...[...response.headers.keys()]
        .filter((name) => !plain.test(name) && !(name in described.headers))
        .map((name) => `no header ${name}`),
      ...(response.headers.get('x-content-type-options') === 'nosniff'
        ? []
        : ['a browser may guess its type']),
    ]
    if (text === '')
      return described.content === undefined ? headerProblems : [...headerProblems, 'a body is described']
    const media = (response.headers.get('content-type') ?? 'none').replace(/;.*/, '')
    if (described.content?.[media] === undefined) return [...headerProblems, `no content of type ${media}`]
    const schema = ['paths', found.path, found.method, 'responses', String(response.status), 'content', media]
    const check = this.#validator([...schema, 'schema'])
    const values = valuesIn(media, text)
    return [
      ...headerProblems,
      ...values.flatMap((value) => (check(value) ? [] : [this.#ajv.errorsText(check.errors)])),
      ...(response.status < 400 ? [] : strayCodes(values, described.description)),
    ]
  }

  #find({ method, path }: Pick<ObservedAnswer, 'method' | 'path'>) {
    return this.#operations.find((each) => each.method.toUpperCase() === method && each.matches.test(path))
  }

  #validator(place: readonly string[]): ValidateFunction {
    const pointer = place.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1'))
    const reference = `doc#/${pointer.map(encodeURIComponent).join('/')}`
    const check = this.#ajv.getSchema(reference)
    if (check === undefined) throw new Error(`the document has nothing at ${reference}`)
    return check
  }
}

/** A body's values: one, or one for each event of a stream. */
function valuesIn(media: string, text: string): unknown[] {
  if (media === 'application/json') return [JSON.parse(text)]
  if (media !== 'text/event-stream') return [text]
  return text
    .split('\n\n')
    .filter((event) => event !== '' && event !== 'data: [DONE]')
    .map((event): unknown => JSON.parse(event.replace(/^(event: .*\n)?data: /, '')))
}

function strayCodes(values: readonly unknown[], description: string): string[] {
  return values.flatMap((value) => {
    const failure = Failure.safeParse(value)
    if (!failure.success) return []
    const { code } = failure.data.error
    return description.includes(`\`${code}\``) ? [] : [`no error ${code} among ${description}`]
  })
}
