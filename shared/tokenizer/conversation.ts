/** A call that an assistant's message asks for. */
export interface ToolCall {
  readonly id: string
  readonly name: string
  readonly arguments: Readonly<Record<string, unknown>>
}

/** One message of a conversation, as templates are given them. */
export type Turn =
  | { readonly role: 'system' | 'developer' | 'user'; readonly content: string }
  | AssistantTurn
  | ToolResult

export interface AssistantTurn {
  readonly role: 'assistant'
  readonly content: string
  readonly reasoning_content?: string | null | undefined
  readonly toolCalls?: readonly ToolCall[]
}

/** The result of a call. */
interface ToolResult {
  readonly role: 'tool'
  readonly content: string
  readonly toolCallId: string
}

/** A function as templates show it to a model. */
export interface ShownFunction {
  readonly name: string
  readonly description: string
  /** A JSON schema. */
  readonly parameters: Readonly<Record<string, unknown>>
}
