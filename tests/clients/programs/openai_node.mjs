// What users of the official Node client do; prints what came of it as JSON.
import { createRequire } from "node:module";

const OpenAI = createRequire(`${process.env.NODE_FOLDER}/`)("openai");
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 2 });
const messages = [{ role: "user", content: "where is my card" }];
const tools = [{ type: "function", function: { name: "find_card", parameters: { type: "object" } } }];
const ask = (more = {}) => client.chat.completions.create({ model: "support", messages, ...more });
const found = {};

found.chat = (await ask()).choices[0].message.content;
found.stream = "";
for await (const part of await ask({ stream: true })) found.stream += part.choices[0]?.delta?.content ?? "";
const { function: call } = (await ask({ tools })).choices[0].message.tool_calls[0];
found.tool = [call.name, JSON.parse(call.arguments)];
const schema = { type: "json_schema", json_schema: { name: "ticket", schema: { type: "object" } } };
found.structured = JSON.parse((await ask({ response_format: schema })).choices[0].message.content);
found.response = (await client.responses.create({ model: "support", input: "where is my card" })).output_text;
found.models = (await client.models.list()).data.map((model) => model.id);
found.model = (await client.models.retrieve("support")).id;
found.errors = [];
for (const more of [{ model: "gpt-4o" }, { messages: [{ role: "user", content: "refuse me" }] }]) {
  await ask(more).catch((error) => found.errors.push([error.constructor.name, error.status]));
}
for (const status of [429, 503]) {
  const began = performance.now();
  const again = await ask({ messages: [{ role: "user", content: `later ${status} openai-node` }] });
  found[`after_${status}`] = [again.choices[0].message.content, performance.now() - began >= 1000];
}
console.log(JSON.stringify(found));
