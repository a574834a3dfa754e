import type { ShownFunction, ToolCall } from '../../shared/tokenizer/conversation.ts'
import type { CallSpelling, ToolTemplate } from '../../shared/tokenizer/tool-template.ts'
import { probe } from '../../shared/tokenizer/tool-template.ts'

/** How a family of models writes calls. Arguments are JSON in all of them. */
export interface ToolFormat extends CallSpelling {
  readonly name:
    | 'hermes'
    | 'llama3-json'
    | 'pythonic'
    | 'mistral'
    | 'mistral-args'
    | 'granite'
    | 'phi-4'
    | 'json'
  /** Whether a conversation that a template has rendered shows this format. */
  readonly isOf: (sample: string) => boolean
  /** Texts in front of calls, special tokens or not; the first is the one that the model is held to. */
  readonly markers: readonly string[]
  /** An answer may be a call without a marker, from its first character on. */
  readonly isBare: boolean
  /** Such an answer is read as a call, too, though the model should write a marker; also one in a fence of JSON. */
  readonly isReadBare?: true
  /** Texts behind calls that mean nothing more. */
  readonly closers: readonly string[]
  /** Special tokens between the parts of a call, which belong to its text. */
  readonly separators?: readonly string[]
  /** Calls of Python's form are read, too; `own`: it is the one that the model writes when it is free to. */
  readonly pythonic?: 'own' | 'also'
  /** Calls whose arguments stand behind `name[ARGS]`, or behind the name alone, are read, too. */
  readonly isSeparated?: true
  /** The text that an answer must have behind its marker, around the arguments. */
  readonly frame: {
    readonly open: string
    readonly before: (name: string) => string
    readonly after: string
    readonly between: string
    readonly close: string
  }
}

const fence = '```'
/** Opens a block of JSON in Markdown. */
export const jsonFence = `${fence}json`

const named = (name: string): string => `{"name": ${JSON.stringify(name)}, "arguments": `

const asJson = ({ arguments: given, name }: ToolCall): string => `${named(name)}${JSON.stringify(given)}}`

const listed = (calls: readonly ToolCall[]): string => `[${calls.map(asJson).join(', ')}]`

const list = { open: '[', before: named, after: '}', between: ', ', close: ']' } as const

const describe = (functions: readonly ShownFunction[]): string =>
  functions.map((each) => JSON.stringify(each)).join('\n')

/** The format of models that no template tells of functions: JSON alone, or the text of an answer. */
const instructions = (functions: readonly ShownFunction[]): string =>
  `You may call these functions:\n${describe(functions)}\nTo call one, answer with JSON alone: {"name": function name, "arguments": object of its arguments}. Several calls are a JSON list of those. Otherwise answer with text.`

const formats: readonly ToolFormat[] = [
  {
    name: 'mistral-args',
    isOf: (sample) => sample.includes('[TOOL_CALLS]') && sample.includes('[ARGS]'),
    markers: ['[TOOL_CALLS]'],
    separators: ['[ARGS]', '[CALL_ID]'],
    isBare: false,
    closers: [],
    isSeparated: true,
    // No grammar spells the special token between a name and its arguments: where the model must call, it writes a list.
    frame: list,
    instructions,
    written: (calls) => ({ marker: '[TOOL_CALLS]', text: listed(calls) }),
  },
  {
    name: 'mistral',
    isOf: (sample) => sample.includes('[TOOL_CALLS]'),
    markers: ['[TOOL_CALLS]'],
    separators: ['[ARGS]', '[CALL_ID]'],
    isBare: false,
    closers: [],
    isSeparated: true,
    frame: list,
    instructions,
    written: (calls) => ({ marker: '[TOOL_CALLS]', text: listed(calls) }),
  },
  {
    name: 'granite',
    isOf: (sample) => sample.includes('<|tool_call|>') && !sample.includes('<|tool|>'),
    markers: ['<|tool_call|>', '<tool_call>'],
    isBare: false,
    isReadBare: true,
    closers: ['</tool_call>', fence],
    frame: list,
    instructions,
    written: (calls) => ({ marker: '<|tool_call|>', text: listed(calls) }),
  },
  {
    name: 'phi-4',
    isOf: (sample) => sample.includes('<|tool|>'),
    markers: ['<|tool_call|>', 'functools'],
    isBare: false,
    closers: ['<|/tool_call|>'],
    frame: list,
    instructions,
    written: (calls) => ({ marker: '<|tool_call|>', text: `${listed(calls)}<|/tool_call|>` }),
  },
  {
    name: 'hermes',
    isOf: (sample) => sample.includes('<tool_call>'),
    // Qwen 2.5 Coder often writes the tag of the list of functions, or no tag.
    markers: ['<tool_call>', '<tools>'],
    isBare: false,
    isReadBare: true,
    closers: ['</tool_call>', '</tools>', fence],
    frame: {
      open: '',
      before: (name) => `\n${named(name)}`,
      after: '}\n</tool_call>',
      between: '\n<tool_call>',
      close: '',
    },
    instructions,
    written: (calls) => ({
      marker: '',
      text: calls.map((call) => `<tool_call>\n${asJson(call)}\n</tool_call>`).join('\n'),
    }),
  },
  {
    name: 'llama3-json',
    isOf: (sample) => sample.includes(`{"name": "${probe.called}", "parameters": `),
    markers: ['<|python_tag|>'],
    isBare: true,
    closers: [],
    // Llama 3.2 and 3.3 write Python's form as well.
    pythonic: 'also',
    frame: {
      open: '',
      before: (name) => `{"name": ${JSON.stringify(name)}, "parameters": `,
      after: '}',
      between: '; ',
      close: '',
    },
    instructions,
    written: (calls) => ({
      marker: '',
      text: calls
        .map(
          ({ arguments: given, name }) =>
            `{"name": ${JSON.stringify(name)}, "parameters": ${JSON.stringify(given)}}`,
        )
        .join('; '),
    }),
  },
  {
    name: 'pythonic',
    isOf: (sample) => sample.includes(`${probe.called}(${probe.argument}=`),
    markers: ['<|python_start|>', '<|python_tag|>'],
    isBare: true,
    closers: ['<|python_end|>'],
    pythonic: 'own',
    frame: list,
    instructions,
    written: (calls) => ({ marker: '', text: listed(calls) }),
  },
  {
    name: 'json',
    isOf: () => true,
    markers: [jsonFence],
    isBare: true,
    closers: [fence],
    frame: list,
    instructions,
    written: (calls) => ({
      marker: '',
      text: calls.length === 1 ? calls.map(asJson).join('') : listed(calls),
    }),
  },
]

/** The format of a model's calls, by what its template shows; plain JSON where that is none we know. */
export function toolFormat({ sample }: Pick<ToolTemplate, 'sample'>): ToolFormat {
  const found = formats.find(({ isOf }) => isOf(sample))
  if (found === undefined) throw new Error('the last row of the table takes every sample')
  return found
}

/** A row of the table by its name. */
export const toolFormatNamed = (name: ToolFormat['name']): ToolFormat => {
  const found = formats.find((each) => each.name === name)
  if (found === undefined) throw new Error(`the table has no format ${name}`)
  return found
}
