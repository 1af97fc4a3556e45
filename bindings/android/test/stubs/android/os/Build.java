package android.os;

public class Build {
    public static final String[] SUPPORTED_ABIS = {"arm64-v8a"};

    public static class VERSION {
        public static int SDK_INT = 35;
    }

    public static class VERSION_CODES {
        public static final int UPSIDE_DOWN_CAKE = 34;
    }
}
