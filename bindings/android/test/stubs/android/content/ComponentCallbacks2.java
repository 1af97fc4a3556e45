package android.content;

public interface ComponentCallbacks2 {
    int TRIM_MEMORY_RUNNING_CRITICAL = 15;
    int TRIM_MEMORY_UI_HIDDEN = 20;

    void onTrimMemory(int level);
}
