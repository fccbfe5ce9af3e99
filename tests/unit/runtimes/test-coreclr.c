/* SPDX-License-Identifier: MIT */
/*
 * test-coreclr.c - what libpsibridge-coreclr.so does with answers and requests that no real runtime has at hand
 *
 * It is compiled in, with a hook that only remembers. How it fares in the real runtime is test-coreclr.sh's.
 */
#include "../unit.h"

#define hook_start kept_hook_start
#define hook_stop kept_hook_stop
#include "runtimes/coreclr.c"

static struct {
	int starts, stops, result;
	HRESULT answer; /* of ForceGC() */
	DWORD events;	/* that are asked for */
	unsigned collections;
	unsigned modules; /* that there are */
} kept;

int kept_hook_start(const struct hook_runtime *unused, const char *const *own)
{
	(void)unused;
	(void)own;
	kept.starts++;
	return kept.result;
}

void kept_hook_stop(void)
{
	kept.stops++;
}

static HRESULT info_query(profiler_object *This, REFIID riid, void **ret)
{
	assert_true(same(riid, &IID_ICorProfilerInfo3));
	*ret = This;
	return S_OK;
}

static ULONG info_count(profiler_object *unused)
{
	(void)unused;
	return 1;
}

static HRESULT info_set_event_mask(profiler_object *unused, DWORD events)
{
	(void)unused;
	kept.events = events;
	return S_OK;
}

static HRESULT info_force_gc(profiler_object *unused)
{
	(void)unused;
	kept.collections++;
	return kept.answer;
}

static HRESULT list_count(profiler_object *unused, ULONG *ret)
{
	(void)unused;
	*ret = kept.modules;
	return S_OK;
}

static const profiler_slot list_slots[] = {
	[SLOT_RELEASE] = SLOT(info_count),
	[6] = SLOT(list_count),
};
static profiler_object list = { list_slots };

static HRESULT info_enum_modules(profiler_object *unused, profiler_object **ret)
{
	(void)unused;
	*ret = &list;
	return kept.modules > 0 ? S_OK : E_FAIL;
}

static const profiler_slot info_slots[] = {
	[SLOT_QUERY_INTERFACE] = SLOT(info_query),
	[SLOT_ADD_REF] = SLOT(info_count),
	[SLOT_RELEASE] = SLOT(info_count),
	[16] = SLOT(info_set_event_mask),
	[28] = SLOT(info_force_gc),
	[66] = SLOT(info_enum_modules),
};
static profiler_object info = { info_slots };

static void forget(void **unused)
{
	(void)unused;
	memset(&self, 0, sizeof(self));
	memset(&kept, 0, sizeof(kept));
	kept.result = 1;
	kept.events = COR_PRF_MONITOR_ASSEMBLY_LOADS;
	self.info = &info;
}

FIXTURE(forget, NULL)

static HRESULT request(const char *data, size_t size)
{
	char lent[5000];

	if (size > 0)
		memcpy(lent, data, size);
	return profiler_initialize_for_attach(&profiler, (IUnknown *)&info, lent, (uint32_t)size);
}

PROMISE(settings_come_with_a_request_and_what_is_none_does_not_count)
{
	static const char good[] = "PSIBRIDGE_LOG=info\0PSIBRIDGE_LOW=x", zeros[300], large[4097];
	const struct {
		const char *data;
		size_t size, settings;
	} table[] = {
		{ good, sizeof(good), 2 },
		{ good, sizeof(good) - 1, 0 }, /* no end */
		{ large, sizeof(large), 0 },
		{ good, 0, 0 },
		{ zeros, 3, 3 }, /* empty ones are the hook's affair */
		{ zeros, sizeof(zeros), 32 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t n = 0;

		forget(NULL);
		assert_int_equal(request(table[i].data, table[i].size), S_OK);
		while (self.settings[n])
			n++;
		assert_int_equal(n, table[i].settings);
		if (n == 2)
			assert_string_equal(self.settings[1], "PSIBRIDGE_LOW=x");
	}
}

PROMISE(a_process_is_hooked_once_and_again_after_a_failure)
{
	kept.result = -EAGAIN;
	assert_true(FAILED(request("", 0)));
	kept.result = 0; /* PSIBRIDGE=off */
	assert_int_equal(request("", 0), CORPROF_E_PROFILER_CANCEL_ACTIVATION);
	kept.result = 1;
	assert_int_equal(profiler_initialize(&profiler, (IUnknown *)&info), S_OK);
	assert_int_equal(request("", 0), CORPROF_E_PROFILER_ALREADY_ACTIVE);
	assert_int_equal(kept.starts, 3);
	profiler_end(&profiler);
	assert_int_equal(kept.stops, 1);
}

PROMISE(what_the_runtime_answers_is_an_errno_and_a_number)
{
	static const struct {
		HRESULT answer;
		int result;
	} table[] = {
		{ S_OK, 0 },
		{ CORPROF_E_NOT_YET_AVAILABLE, -EAGAIN },
		{ CORPROF_E_PROFILER_DETACHING, -ECANCELED },
		{ E_OUTOFMEMORY, -EPROTO },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *why = NULL;

		kept.answer = table[i].answer;
		assert_int_equal(collect(&why), table[i].result);
		if (table[i].result == -EPROTO)
			assert_string_equal(why, "ForceGC: 0x8007000E");
		else
			assert_null(why);
	}
}

/* A runtime that is asked for something while it starts may crash. Afterwards no code path of it is another one than without us. */
PROMISE(nothing_is_asked_for_until_the_program_has_its_assembly_and_no_event_from_then_on)
{
	const char *why = NULL;

	assert_int_equal(profiler_initialize(&profiler, (IUnknown *)&info), S_OK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kept.events, COR_PRF_MONITOR_ASSEMBLY_LOADS);
		assert_int_equal(load(0, &why), -EAGAIN);
		profiler_assembly_loaded(&profiler, 0, S_OK);
	}
	assert_int_equal(kept.events, COR_PRF_MONITOR_NONE);
	assert_int_equal(load(0, &why), -ENOENT); /* there is no runtime */
}

/* It is not told of what was loaded before: the runtime lists it. */
PROMISE(nothing_is_asked_for_until_a_program_that_was_attached_to_has_its_assembly)
{
	const char *why = NULL;

	assert_int_equal(request(NULL, 0), S_OK);
	assert_int_equal(kept.events, COR_PRF_MONITOR_NONE);
	for (kept.modules = 0; kept.modules < 2; kept.modules++)
		assert_int_equal(load(0, &why), -EAGAIN);
	assert_int_equal(load(1, &why), -ENOENT); /* there is no runtime */
	kept.modules = 0;			  /* is not looked at any more */
	assert_int_equal(load(0, &why), -ENOENT);
}

/* With a heap that takes no time. */
PROMISE(it_collects_until_no_free_region_is_kept)
{
	const char *why;
	uint64_t next = 0;

	assert_int_equal(collect(&why), 0);
	while (settle(0, &next))
		assert_int_equal(next, STEP_USEC);
	assert_int_equal(kept.collections, 1 + STEPS);
}

PROMISE(where_stderr_is_data_to_others_it_is_known_by_the_command_line)
{
	static const struct {
		int tool;
		const char *cmdline; /* with a ' ' for each NUL */
	} table[] = {
		{ 1, "dotnet" },
		{ 1, "dotnet build" },
		{ 1, "/usr/bin/dotnet test app.dll" },
		{ 1, "dotnet --info" },
		{ 1, "dotnet exec /usr/share/dotnet/sdk/10.0.401/Roslyn/bincore/csc.dll @x.rsp" },
		{ 1, "/usr/share/dotnet/sdk/10.0.401/Roslyn/bincore/csc" },
		{ 1,
		  "dotnet /root/.nuget/packages/microsoft.net.compilers.toolset/4.1/tasks/csc.dll" },
		{ 1,
		  "dotnet exec --runtimeconfig x.json --depsfile y.json /app/testhost.dll --port 1" },
		{ 1, "/opt/pwsh/pwsh" },
		{ 1, "mono /usr/lib/mono/4.5/mcs.exe -out:x.exe" },
		{ 0, "dotnet app.dll build" },
		{ 0, "dotnet exec app.dll" },
		{ 0, "dotnet --roll-forward Major /srv/sdk/app.dll" },
		{ 0, "/app/garbage 300" },
		{ 0, "mono app.exe" },
		{ 0, "csc-server" },
		{ 0, "" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char text[200];
		size_t size = (size_t)snprintf(text, sizeof(text), "%s", table[i].cmdline) + 1;

		for (char *p = text; (p = strchr(p, ' ')); p++)
			*p = '\0';
		if (tool_is(text, size) != table[i].tool)
			fail_msg("%s", table[i].cmdline);
	}
}

/* The rest of it the real runtime asks. */
PROMISE(only_known_interfaces_are_given_and_the_last_reference_stops_it)
{
	static const IID nobodys = { 0x12345678, 0x1234, 0x1234, { 1, 2, 3, 4, 5, 6, 7, 8 } };
	void *object;

	assert_int_equal(DllGetClassObject(&our_clsid, &nobodys, &object), E_NOINTERFACE);
	assert_int_equal(create(&factory, (IUnknown *)&info, &IID_IUnknown, &object),
			 CLASS_E_NOAGGREGATION);
	assert_int_equal(create(&factory, NULL, &nobodys, &object), E_NOINTERFACE);
	assert_null(object);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(create(&factory, NULL, &profiler_callback_iids[i], &object), S_OK);
	profiler_release(&profiler);
	profiler_release(&profiler);
	assert_int_equal(kept.stops, 0);
	profiler_release(&profiler);
	assert_int_equal(kept.stops, 1);
}
